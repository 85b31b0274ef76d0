//! The account at an authority: made once, its key encrypted in the store. Made anew when the authority does
//! not know it any more; the authority is told of other contacts.

use std::{fs, path::Path, sync::Arc};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use consensus::{Compare, Consistency, Op, ProposeError, Transaction};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::{client::legacy, rt::TokioExecutor};
use instant_acme::{
    Account, AccountCredentials, BodyWrapper, BytesResponse, Error, HttpClient, NewAccount, Problem,
};
use model::{Acme, Revision};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use serde::{Deserialize, Serialize};

use super::Wanted;
use crate::{
    certificates::Sealed,
    control::{
        Control,
        store::{ACCOUNTS, named_key},
    },
    issuing::Place,
};

/// An account, as stored.
#[derive(Serialize, Deserialize)]
struct Stored {
    /// Where it is one; at another server another one is made.
    server: String,
    credentials: Sealed,
    /// What the authority was told; unknown of those that were made before it was written down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    contact: Option<Vec<String>>,
}

/// An account, and when it was written down.
pub(super) struct Kept {
    pub(super) account: Account,
    seen: Revision,
}

/// Returns the account of an issuer; makes it where there is none.
pub(super) async fn account(control: &Control, wanted: &Wanted) -> Result<Kept> {
    let at = named_key(ACCOUNTS, &wanted.issuer);
    let view = control.consensus().read(Consistency::Linearizable).await?;
    let seen = view.get(&at);
    let stored = seen.map(|seen| serde_json::from_slice::<Stored>(&seen.value));
    let stored = stored.transpose().context("the stored account is unreadable")?;
    let seen = seen.map(|seen| seen.mod_revision);
    let builder = Account::builder_with_http(client(&wanted.acme)?);
    let contact: Vec<_> = wanted.acme.contact.iter().map(|it| format!("mailto:{it}")).collect();
    let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
    if let (Some(stored), Some(seen)) = (stored, seen)
        && stored.server == wanted.acme.server
    {
        let opened =
            place(control.identity().cluster().as_str(), control).open(&at, &stored.credentials)?;
        let credentials: AccountCredentials =
            serde_json::from_str(&opened).context("the stored account is unreadable")?;
        let account =
            builder.from_credentials(credentials).await.context("taking up the account")?;
        if stored.contact.as_ref() == Some(&wanted.acme.contact) {
            return Ok(Kept { account, seen });
        }
        match account.update_contacts(&contact).await {
            // Who orders by it hears the same, and sees to it.
            Err(Error::Api(problem)) if is_unknown(&problem) => return Ok(Kept { account, seen }),
            told => told.context("telling the authority of the contacts")?,
        }
        let stored = Stored { contact: Some(wanted.acme.contact.clone()), ..stored };
        let seen = keep(control, &at, &stored, Some(seen)).await?;
        return Ok(Kept { account, seen });
    }
    let asked = NewAccount {
        contact: &contact,
        terms_of_service_agreed: wanted.acme.terms_of_service_agreed,
        only_return_existing: false,
    };
    let made = builder.create(&asked, wanted.acme.server.clone(), None).await;
    let (account, credentials) = made.context("making an account")?;
    let credentials = zeroize::Zeroizing::new(serde_json::to_string(&credentials)?);
    let stored = Stored {
        server: wanted.acme.server.clone(),
        credentials: place(control.identity().cluster().as_str(), control).seal(&at, &credentials),
        contact: Some(wanted.acme.contact.clone()),
    };
    let seen = keep(control, &at, &stored, seen).await?;
    Ok(Kept { account, seen })
}

/// Removes an account that the authority does not know any more, unless another one has taken its place.
pub(super) async fn forget(control: &Control, wanted: &Wanted, lost: &Kept) -> Result<()> {
    let key = named_key(ACCOUNTS, &wanted.issuer);
    let remove = Op::Delete { key: key.clone() };
    let mut transaction = Transaction::new("the leader", "a lost account by ACME", vec![remove]);
    transaction.compare = vec![Compare::KeyRevision { key, revision: Some(lost.seen) }];
    match control.consensus().propose(transaction).await {
        Ok(_) | Err(ProposeError::Conflict { .. }) => Ok(()),
        Err(error) => Err(error).context("removing the lost account"),
    }
}

/// Tells whether an authority's words mean that it knows no such account (RFC 8555, section 6.7).
pub(super) fn is_unknown(problem: &Problem) -> bool {
    problem.r#type.as_deref() == Some("urn:ietf:params:acme:error:accountDoesNotExist")
}

async fn keep(
    control: &Control,
    at: &str,
    stored: &Stored,
    seen: Option<Revision>,
) -> Result<Revision> {
    let put = Op::Put { key: at.to_owned(), value: Bytes::from(serde_json::to_vec(stored)?) };
    let mut transaction = Transaction::new("the leader", "an account by ACME", vec![put]);
    transaction.compare = vec![Compare::KeyRevision { key: at.to_owned(), revision: seen }];
    let written = control.consensus().propose(transaction).await.context("keeping the account")?;
    Ok(written.revision)
}

fn place<'a>(cluster: &'a str, control: &'a Control) -> Place<'a> {
    Place { key: control.certificates().cluster_key(), cluster }
}

/// Speaks HTTPS with a server that the named authorities vouch for.
struct Client(
    legacy::Client<
        hyper_rustls::HttpsConnector<legacy::connect::HttpConnector>,
        BodyWrapper<Bytes>,
    >,
);

impl HttpClient for Client {
    fn request(
        &self,
        request: http::Request<BodyWrapper<Bytes>>,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let answered = self.0.request(request);
        Box::pin(async move {
            let answered = answered.await.map_err(|error| Error::Other(Box::new(error)))?;
            Ok(BytesResponse::from(answered))
        })
    }
}

fn client(acme: &Acme) -> Result<Box<dyn HttpClient>> {
    let file = match &acme.ca_file {
        Some(file) => Path::new(file),
        None => dataplane::l7::system_roots(),
    };
    let pem = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok);
    roots.add_parsable_certificates(certificates);
    ensure!(!roots.is_empty(), "{} holds no certificate in PEM", file.display());
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector =
        HttpsConnectorBuilder::new().with_tls_config(config).https_only().enable_http1().build();
    Ok(Box::new(Client(legacy::Client::builder(TokioExecutor::new()).build(connector))))
}
