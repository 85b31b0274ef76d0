//! Challenges of ACME are answered by every host of HTTP listeners, and nothing else is.

use std::sync::Arc;

use dataplane::acme::Challenges;

use crate::{
    backend::Backend,
    client::{Client, get, send},
    plane::{Plane, eventually, free_port, http_listener, route, service, to},
};

const PATH: &str = "/.well-known/acme-challenge/a-token";
const ISSUER: &str = "---\nkind: Issuer\nmetadata: { name: public }\nspec: { acme: { server: 'https://acme.example/dir', \
                      termsOfServiceAgreed: true } }\n";

#[tokio::test(flavor = "multi_thread")]
async fn envoy_answers_challenges_of_acme_and_sends_all_else_its_way() {
    let a = Backend::start("a").await;
    let port = free_port();
    let config = http_listener(port)
        + &service("a", &[a.port])
        + &route("exact", "a.example", &to("a"))
        + &route("wild", "*.b.example", &to("a"));
    let mut plane = Plane::with(&config).await;
    let challenges = Challenges::from([("a-token".to_owned(), "a-token.thumb".to_owned())]);
    plane.challenges.send_replace(Arc::new(challenges));
    let answer = get(port, "a.example", PATH).await;
    assert_eq!(answer.backend(), "a", "nobody is asked by ACME");

    plane.apply(ISSUER).await;
    // Of a host with a route, of a wildcard, and of one that nobody has.
    for host in ["a.example", "x.b.example", "c.example", "A.Example"] {
        eventually("the answer of the changed listener", async || {
            let answer = get(port, host, PATH).await;
            (answer.status == 200 && answer.body == "a-token.thumb").then_some(())
        })
        .await;
    }
    let other = "/.well-known/acme-challenge/another";
    for (host, path) in [("a.example", other), ("a.example", "/"), ("x.b.example", other)] {
        assert_eq!(get(port, host, path).await.backend(), "a", "{host}{path}");
    }
    assert_eq!(send(port, "GET", "c.example", other, &[]).await.status, 404);

    // A challenge that comes or goes changes no listener and cuts no connection.
    let mut kept = Client::connect(port).await.unwrap();
    assert_eq!(kept.get("a.example", PATH).await.unwrap().body, "a-token.thumb");
    plane.challenges.send_replace(Arc::default());
    assert_eq!(kept.get("a.example", PATH).await.unwrap().backend(), "a");
    plane.stop().await;
}
