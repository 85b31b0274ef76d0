//! The program `marchproxy`; everything it does is in the library beside it.

fn main() -> std::process::ExitCode {
    node::cli::main()
}
