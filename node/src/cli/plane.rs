//! Where the data plane of a node of this host is, and with what settings.

use std::path::{Path, PathBuf};

use dataplane::Config;

use crate::settings::{DATAPLANE_FOLDER, RUN_DIR, Settings};

/// Returns the settings of the data plane in the folder of a node, with what the node keeps.
pub(super) fn of_node(
    data_dir: &Path,
    run_dir: Option<PathBuf>,
    kept: Option<&Settings>,
) -> Config {
    let run_dir =
        run_dir.or_else(|| kept.map(|kept| kept.run_dir.clone())).unwrap_or_else(|| RUN_DIR.into());
    in_folder(data_dir.join(DATAPLANE_FOLDER), run_dir, kept)
}

/// Returns the settings of the data plane in a folder of its own, with what a node keeps.
pub(super) fn in_folder(folder: PathBuf, run_dir: PathBuf, kept: Option<&Settings>) -> Config {
    let control = kept.map(|kept| kept.addresses().push);
    let identity = folder.join("identity");
    let mut config = Config::new(control.into_iter().collect(), identity, folder, run_dir);
    if let Some(kept) = kept {
        config.envoy.clone_from(&kept.envoy);
        config.envoy_memory = kept.envoy_memory.map(mebibytes);
        config.listen_address = kept.listen_address;
        config.interfaces.clone_from(&kept.xdp);
        config.flows = kept.xdp_flows.unwrap_or(config.flows);
        config.connections = kept.xdp_connections.unwrap_or(config.connections);
        config.flow_sampling = kept.flow_sampling.unwrap_or(config.flow_sampling);
        config.worker_priority = kept.worker_priority.unwrap_or(config.worker_priority);
    }
    config
}

/// Returns how many bytes they are.
pub(super) fn mebibytes(number: u32) -> u64 {
    u64::from(number) << 20
}
