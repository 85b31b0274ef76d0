//! Every file that makes a node who it is, damaged in every way: found at start and named, with
//! what to do, and nothing else is touched.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use crate::cluster::Cluster;

/// Below the data directory.
const FILES: [&str; 7] = [
    "identity/node.pem",
    "identity/ca.pem",
    "identity/cluster.key",
    "identity/admin.token",
    "dataplane/identity/node.pem",
    "dataplane/identity/ca.pem",
    "settings.json",
];

/// All files of the identity, the settings included.
fn kept(data: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let directories = [data.to_owned(), data.join("identity"), data.join("dataplane/identity")];
    let entries = directories.iter().flat_map(|directory| fs::read_dir(directory).unwrap());
    let files = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    let kept = files.filter(|path| path.extension().is_some_and(|ending| ending != "lock"));
    kept.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_damaged_or_foreign_file_is_named_with_what_to_do_and_nothing_is_touched() {
    let (mut cluster, mut other) = (Cluster::new(30), Cluster::new(31));
    cluster.up(1).await;
    other.up(1).await;
    let line = cluster.line(1).await;
    cluster.join(2, line).await;
    cluster.voters(2).await;
    cluster.stop(1).await;
    let data = cluster.data(1);
    let mut checked = 0;
    for file in FILES {
        let path = data.join(file);
        let whole = fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 1;
        let others = [cluster.data(2), other.data(1)].map(|data| fs::read(data.join(file)).ok());
        let [neighbour, foreign] = others;
        let damages = [
            ("emptied", Some(Vec::new())),
            ("halved", Some(whole[..whole.len() / 2].to_vec())),
            ("flipped", Some(flipped)),
            ("of a neighbour", neighbour),
            ("of another cluster", foreign),
        ];
        for (what, damage) in damages {
            // What all nodes of a cluster have in common is no damage.
            let Some(damage) = damage.filter(|damage| *damage != whole) else { continue };
            fs::write(&path, &damage).unwrap();
            let before = kept(&data);
            let started = cluster.restarting(1).await;
            let said = format!("{:#}", started.err().unwrap_or_else(|| panic!("{file} {what}")));
            assert!(said.contains(path.to_str().unwrap()), "{file} {what}: {said}");
            assert!(said.contains("restore"), "{file} {what}: {said}");
            assert!(kept(&data) == before, "{file} {what}: something was written");
            checked += 1;
        }
        fs::write(&path, &whole).unwrap();
    }
    assert!(checked >= 30, "{checked} of seven files and five damages");
    cluster.restart(1).await;
    cluster.voters(2).await;
    other.shutdown().await;
    cluster.shutdown().await;
}
