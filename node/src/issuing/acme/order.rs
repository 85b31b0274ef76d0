//! One order, from its account to the certificate in the store.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use consensus::{Compare, Consistency, Op, Transaction};
use instant_acme::{
    AuthorizationHandle, AuthorizationStatus, Authorizations, ChallengeType, Error, Identifier,
    NewOrder, Order, OrderStatus, RetryPolicy,
};
use model::AcmeChallenge;
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use runtime::push::ChallengeAnswer;
use rustls_pki_types::{CertificateDer, pem::PemObject};
use tokio::sync::Mutex;
use x509_parser::parse_x509_certificate;
use zeroize::Zeroizing;

use super::{Wanted, account, asked_of};
use crate::{
    control::{
        Control,
        store::{CERTIFICATES, CHALLENGES, FAILURES, named_key, object_key},
    },
    issuing::{Place, Record, authority::Pair, record::milliseconds},
};

/// A push takes milliseconds; who has not got an answer by then is not connected.
const REACHES_NODES: Duration = Duration::from_secs(1);
/// How long an authority may take to convince itself of one host, and how often it is asked.
pub(super) const PROVEN_WITHIN: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// How long the authority may take to ask, and to sign.
const PATIENCE: RetryPolicy = RetryPolicy::new().timeout(Duration::from_secs(90));

/// Has a certificate issued, and keeps it.
pub(super) async fn order(control: &Control, wanted: &Wanted, accounts: &Mutex<()>) -> Result<()> {
    let within = wanted.within();
    let mut order = bounded(within, begin(control, wanted, accounts)).await?;
    let mut tokens = Vec::new();
    let proven = prove_and_finalize(control, &mut order, wanted, &mut tokens);
    let ordered = bounded(within, proven).await;
    // Whatever came of it, nobody asks for them any more.
    let removed = remove_challenges(control, &tokens).await;
    let pair = ordered?;
    removed?;
    keep(control, wanted, &pair).await
}

async fn bounded<T>(within: Duration, step: impl Future<Output = Result<T>>) -> Result<T> {
    let done = tokio::time::timeout(within, step).await;
    done.with_context(|| format!("the order took longer than {within:?}"))?
}

async fn begin(control: &Control, wanted: &Wanted, accounts: &Mutex<()>) -> Result<Order> {
    let hosts = wanted.issued.hosts.iter();
    let identifiers: Vec<_> = hosts.map(|host| Identifier::Dns(host.clone())).collect();
    let asked = NewOrder::new(&identifiers);
    let account = {
        let _alone = accounts.lock().await;
        account::account(control, wanted).await?
    };
    let refused = match account.account.new_order(&asked).await {
        Err(Error::Api(problem)) if account::is_unknown(&problem) => problem,
        ordered => return ordered.context("ordering"),
    };
    tracing::warn!(issuer = %wanted.issuer, %refused, "the account is lost; another one is made");
    let account = {
        let _alone = accounts.lock().await;
        account::forget(control, wanted, &account).await?;
        account::account(control, wanted).await?
    };
    account.account.new_order(&asked).await.context("ordering by a new account")
}

async fn prove_and_finalize(
    control: &Control,
    order: &mut Order,
    wanted: &Wanted,
    tokens: &mut Vec<String>,
) -> Result<Pair> {
    match wanted.acme.challenge {
        AcmeChallenge::Http01 => prove_all(control, order, tokens).await?,
        AcmeChallenge::TlsAlpn01 => prove_one_by_one(control, order, tokens).await?,
    }
    let status = order.poll_ready(&PATIENCE).await.context("waiting to be proven")?;
    if status != OrderStatus::Ready {
        bail!("the authority does not believe it: {}", disbelief(order).await);
    }
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(wanted.issued.hosts.as_slice())?;
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(&key)?;
    order.finalize_csr(request.der()).await.context("handing in the request")?;
    let chain = order.poll_certificate(&PATIENCE).await.context("waiting for the certificate")?;
    let (not_before, not_after) = validity(&chain)?;
    let key = Zeroizing::new(key.serialize_pem());
    Ok(Pair { certificate: chain, key, not_before, not_after })
}

/// Has all hosts proven at a time.
async fn prove_all(control: &Control, order: &mut Order, tokens: &mut Vec<String>) -> Result<()> {
    let mut challenges = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let authorization = authorization.context("asking what is to be proven")?;
        challenges.extend(challenge(authorization, ChallengeType::Http01)?);
    }
    if challenges.is_empty() {
        return Ok(());
    }
    tokens.extend(challenges.iter().map(|(token, _)| token.clone()));
    put_challenges(control, &challenges).await?;
    tokio::time::sleep(REACHES_NODES).await;
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        set_ready(authorization?, ChallengeType::Http01).await?;
    }
    Ok(())
}

/// Has one host proven after the other.
async fn prove_one_by_one(
    control: &Control,
    order: &mut Order,
    tokens: &mut Vec<String>,
) -> Result<()> {
    for index in 0.. {
        let mut authorizations = order.authorizations();
        let Some(authorization) = nth(&mut authorizations, index).await? else { break };
        let Some(one) = challenge(authorization, ChallengeType::TlsAlpn01)? else { continue };
        let token = one.0.clone();
        tokens.push(token.clone());
        put_challenges(control, &[one]).await?;
        tokio::time::sleep(REACHES_NODES).await;
        let mut authorizations = order.authorizations();
        if let Some(authorization) = nth(&mut authorizations, index).await? {
            set_ready(authorization, ChallengeType::TlsAlpn01).await?;
        }
        let begin = Instant::now();
        while begin.elapsed() < PROVEN_WITHIN {
            tokio::time::sleep(LOOK_AGAIN).await;
            let mut authorizations = order.authorizations();
            let Some(mut authorization) = nth(&mut authorizations, index).await? else { break };
            let state = authorization.refresh().await.context("waiting to be proven")?;
            match state.status {
                AuthorizationStatus::Pending => {}
                AuthorizationStatus::Valid => break,
                _ => bail!("the authority does not believe it: {}", disbelief(order).await),
            }
        }
        remove_challenges(control, &[token]).await?;
        tokens.pop();
    }
    Ok(())
}

async fn nth<'a>(
    authorizations: &'a mut Authorizations<'_>,
    index: usize,
) -> Result<Option<AuthorizationHandle<'a>>> {
    for _ in 0..index {
        authorizations.next().await.transpose().context("asking what is to be proven")?;
    }
    authorizations.next().await.transpose().context("asking what is to be proven")
}

/// Returns what is to be answered for an authorization, with its token; nothing where it is valid already.
fn challenge(
    authorization: AuthorizationHandle<'_>,
    kind: ChallengeType,
) -> Result<Option<(String, ChallengeAnswer)>> {
    // One that lives as long as this function, which is what a challenge borrows.
    let mut authorization = authorization;
    match authorization.status {
        AuthorizationStatus::Valid => return Ok(None),
        AuthorizationStatus::Pending => {}
        status => bail!("an authorization is {status:?} from the start"),
    }
    let host = authorization.identifier().to_string();
    let by_handshake = kind == ChallengeType::TlsAlpn01;
    let Some(challenge) = authorization.challenge(kind) else {
        bail!("the authority does not prove {host} by this kind of challenge");
    };
    let key_authorization = challenge.key_authorization().as_str().to_owned();
    let at_ms = milliseconds(SystemTime::now());
    let answer = ChallengeAnswer { host, key_authorization, by_handshake, at_ms };
    Ok(Some((challenge.token.clone(), answer)))
}

async fn set_ready(authorization: AuthorizationHandle<'_>, kind: ChallengeType) -> Result<()> {
    let mut authorization = authorization;
    if authorization.status == AuthorizationStatus::Pending
        && let Some(mut challenge) = authorization.challenge(kind)
    {
        challenge.set_ready().await.context("asking to be proven")?;
    }
    Ok(())
}

/// Returns the authority's words for what it does not believe.
async fn disbelief(order: &mut Order) -> String {
    let mut words = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let Ok(mut authorization) = authorization else { continue };
        if authorization.refresh().await.is_err() {
            continue;
        }
        let host = authorization.identifier().to_string();
        let problems = authorization.challenges.iter().filter_map(|it| it.error.as_ref());
        words.extend(problems.filter_map(|it| Some(format!("{host}: {}", it.detail.as_ref()?))));
    }
    if words.is_empty() { "it does not say why".to_owned() } else { words.join("; ") }
}

async fn put_challenges(control: &Control, challenges: &[(String, ChallengeAnswer)]) -> Result<()> {
    let mut puts = Vec::new();
    for (token, challenge) in challenges {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if token.is_empty() || token.len() > 256 || !token.bytes().all(plain) {
            bail!("the authority's token is not base64url (RFC 8555, section 8.3)");
        }
        let value = Bytes::from(serde_json::to_vec(challenge)?);
        puts.push(Op::Put { key: format!("{CHALLENGES}{token}"), value });
    }
    if challenges.iter().any(|(_, challenge)| challenge.by_handshake) {
        // Nodes show one at a time: one that an order left behind, cut off, would stand in the way.
        let view = control.consensus().read(Consistency::Linearizable).await?;
        let left = view.scan(CHALLENGES).filter(|(at, stored)| {
            let left = serde_json::from_slice::<ChallengeAnswer>(&stored.value);
            let named = puts.iter().any(|put| matches!(put, Op::Put { key, .. } if key == at));
            !named && left.is_ok_and(|left| left.by_handshake)
        });
        let removes: Vec<_> = left.map(|(at, _)| Op::Delete { key: at.to_owned() }).collect();
        puts.extend(removes);
    }
    let transaction = Transaction::new("the leader", "challenges by ACME", puts);
    control.consensus().propose(transaction).await.context("keeping the challenges")?;
    Ok(())
}

async fn remove_challenges(control: &Control, tokens: &[String]) -> Result<()> {
    if tokens.is_empty() {
        return Ok(());
    }
    let keys = tokens.iter().map(|token| format!("{CHALLENGES}{token}"));
    let removes = keys.map(|key| Op::Delete { key }).collect();
    let transaction = Transaction::new("the leader", "challenges by ACME are over", removes);
    control.consensus().propose(transaction).await.context("removing the challenges")?;
    Ok(())
}

fn validity(chain: &str) -> Result<(SystemTime, SystemTime)> {
    let der = CertificateDer::from_pem_slice(chain.as_bytes())
        .context("the authority's answer is no certificate in PEM")?;
    let (_, certificate) =
        parse_x509_certificate(&der).context("the authority's answer is no certificate")?;
    let time = |at: x509_parser::time::ASN1Time| {
        let seconds = u64::try_from(at.timestamp()).unwrap_or_default();
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    };
    let validity = certificate.validity();
    Ok((time(validity.not_before), time(validity.not_after)))
}

async fn keep(control: &Control, wanted: &Wanted, pair: &Pair) -> Result<()> {
    let identity = control.identity();
    let place =
        Place { key: control.certificates().cluster_key(), cluster: identity.cluster().as_str() };
    let key = &wanted.certificate;
    let mut record = Record::of_certificate(&place, key, wanted.asked.clone(), pair);
    // The authority chooses how long it is valid: it is renewed at half of that at the earliest.
    record.not_due_before(pair.not_before + lifetime(pair) / 2);
    let view = control.consensus().read(Consistency::Linearizable).await?;
    let (at, object) = (named_key(CERTIFICATES, key), object_key(key));
    let seen = |key: &str| view.get(key).map(|stored| stored.mod_revision);
    let failure = named_key(FAILURES, key);
    let mut ops = vec![Op::Put { key: at.clone(), value: Bytes::from(record.to_stored()) }];
    if seen(&failure).is_some() {
        ops.push(Op::Delete { key: failure });
    }
    let compare =
        [&at, &object].map(|key| Compare::KeyRevision { key: key.clone(), revision: seen(key) });
    let config = control.snapshot(Consistency::Linearizable).await?;
    let Some(issued) = config.certificate(&key.namespace, &key.name).and_then(|it| it.issued())
    else {
        bail!("{key} was removed meanwhile");
    };
    if asked_of(issued, &wanted.acme) != wanted.asked {
        bail!("{key} was changed meanwhile");
    }
    let mut transaction = Transaction::new("the leader", "issue a certificate", ops);
    transaction.compare = compare.into();
    control.consensus().propose(transaction).await.context("keeping the certificate")?;
    Ok(())
}

fn lifetime(pair: &Pair) -> Duration {
    pair.not_after.duration_since(pair.not_before).unwrap_or_default()
}
