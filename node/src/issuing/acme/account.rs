//! The account at an authority: made once, its key encrypted in the store.

use std::{fs, path::Path, sync::Arc};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use consensus::{Compare, Consistency, Op, Transaction};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::{client::legacy, rt::TokioExecutor};
use instant_acme::{
    Account, AccountCredentials, BodyWrapper, BytesResponse, Error, HttpClient, NewAccount,
};
use model::Acme;
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
}

/// Returns the account of an issuer; makes it where there is none.
pub(super) async fn account(control: &Control, wanted: &Wanted) -> Result<Account> {
    let identity = control.identity();
    let place =
        Place { key: control.certificates().cluster_key(), cluster: identity.cluster().as_str() };
    let at = named_key(ACCOUNTS, &wanted.issuer);
    let view = control.consensus().read(Consistency::Linearizable).await?;
    let seen = view.get(&at);
    let stored = seen.map(|seen| serde_json::from_slice::<Stored>(&seen.value));
    let stored = stored.transpose().context("the stored account is unreadable")?;
    if let Some(stored) = stored.filter(|stored| stored.server == wanted.acme.server) {
        let opened = place.open(&at, &stored.credentials)?;
        let credentials: AccountCredentials =
            serde_json::from_str(&opened).context("the stored account is unreadable")?;
        let builder = Account::builder_with_http(client(&wanted.acme)?);
        return builder.from_credentials(credentials).await.context("taking up the account");
    }
    let contact: Vec<_> = wanted.acme.contact.iter().map(|it| format!("mailto:{it}")).collect();
    let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
    let asked = NewAccount {
        contact: &contact,
        terms_of_service_agreed: wanted.acme.terms_of_service_agreed,
        only_return_existing: false,
    };
    let builder = Account::builder_with_http(client(&wanted.acme)?);
    let made = builder.create(&asked, wanted.acme.server.clone(), None).await;
    let (account, credentials) = made.context("making an account")?;
    let credentials = zeroize::Zeroizing::new(serde_json::to_string(&credentials)?);
    let stored =
        Stored { server: wanted.acme.server.clone(), credentials: place.seal(&at, &credentials) };
    let put = Op::Put { key: at.clone(), value: Bytes::from(serde_json::to_vec(&stored)?) };
    let mut transaction = Transaction::new("the leader", "an account by ACME", vec![put]);
    let revision = seen.map(|seen| seen.mod_revision);
    transaction.compare = vec![Compare::KeyRevision { key: at, revision }];
    control.consensus().propose(transaction).await.context("keeping the account")?;
    Ok(account)
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
