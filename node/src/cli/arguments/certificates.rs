//! What `certificates` does.

use clap::Subcommand;

use super::Output;

/// What to do about certificates.
#[derive(Clone, Debug, Subcommand)]
pub enum CertificatesCommand {
    /// Show all, and until when they are valid (the default)
    List {
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Print the authority of an internal issuer, which clients are to trust, in PEM
    Authority {
        /// The issuer
        name: String,
        /// Its namespace
        #[arg(short = 'n', long, default_value = model::key::DEFAULT_NAMESPACE)]
        namespace: String,
    },
}
