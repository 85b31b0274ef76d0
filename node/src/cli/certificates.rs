//! `certificates`: how they stand, and the authorities that clients are to trust.

use model::api::{CertificatesResponse, IssuerAuthority};

use super::{
    arguments::{CertificatesCommand, Output},
    exit::Failure,
    print,
    view::certificates,
};
use crate::client::{Client, Request};

pub(super) async fn certificates(
    client: &Client,
    command: Option<CertificatesCommand>,
    output: Output,
) -> Result<(), Failure> {
    let output = match command {
        None => output,
        Some(CertificatesCommand::List { output }) => output,
        Some(CertificatesCommand::Authority { name, namespace }) => {
            let path = format!("/v1/issuers/{namespace}/{name}/authority");
            let authority: IssuerAuthority = client.call(Request::get(&path)).await?;
            return print::out(&authority.certificate);
        }
    };
    let response: CertificatesResponse = client.call(Request::get("/v1/certificates")).await?;
    print::answer(output.format, &response, |response| certificates::table(&response.certificates))
}
