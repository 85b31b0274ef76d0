//! Modules of filters, as files of this node: each as it is in the store, by its hash, and beside it those
//! with limited memory, which Envoy runs.
//!
//! They come from control nodes before the configuration that names them, and survive reboots. All that
//! the store has are here.
//!
//! **Invariant.** A file has its name when all of it is there and has been hashed.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use model::{ModuleFile, ModuleId, Snapshot};
use runtime::{
    durable::{self, DurableError},
    filter_code::{self, InvalidCode},
};

const EXTENSION: &str = ".wasm";
/// Between the hash and the limit of a file with limited memory.
const LIMIT: char = '-';

/// Why a module is not kept, or cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    /// What came is another one.
    #[error("what came as module {wanted} is {found}")]
    OtherContent {
        /// What it should be.
        wanted: ModuleId,
        /// What it is.
        found: ModuleId,
    },
    /// Its memory cannot be limited.
    #[error("module {} cannot have {} MiB of memory", file.sha256, file.memory_limit_mib)]
    Unfit {
        /// Which, with which limit.
        file: ModuleFile,
        /// Why.
        #[source]
        source: InvalidCode,
    },
    /// It cannot be written.
    #[error(transparent)]
    Write(#[from] DurableError),
    /// Its place cannot be read or removed.
    #[error("cannot read or remove {}", path.display())]
    Place {
        /// The file or directory.
        path: PathBuf,
        /// The operating system's words.
        #[source]
        source: io::Error,
    },
}

/// Returns where the file of a module lies that Envoy runs.
pub(crate) fn path(directory: &Path, file: ModuleFile) -> PathBuf {
    let ModuleFile { sha256, memory_limit_mib } = file;
    directory.join(format!("{sha256}{LIMIT}{memory_limit_mib}{EXTENSION}"))
}

/// The modules of a node. Clones share them.
#[derive(Clone, Debug)]
pub struct Modules {
    directory: Arc<Path>,
    /// Held by who changes files: a session and tries of configurations do, and a file has one name while
    /// it is written.
    changing: Arc<Mutex<()>>,
}

impl Modules {
    /// Keeps them under a directory, which is made when it is needed.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.into(), changing: Arc::default() }
    }

    /// Returns the directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Keeps what a control node sent.
    ///
    /// # Errors
    /// It is another one, or cannot be written.
    pub fn keep(&self, wanted: ModuleId, bytes: &[u8]) -> Result<(), ModuleError> {
        let found = filter_code::sha256(bytes);
        if found != wanted {
            return Err(ModuleError::OtherContent { wanted, found });
        }
        let _changing = self.changing();
        durable::private_directory(&self.directory)?;
        Ok(durable::replace(&self.whole(wanted), bytes, 0o600)?)
    }

    /// Lists the modules that are there as they are in the store.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn held(&self) -> Result<BTreeSet<ModuleId>, ModuleError> {
        Ok(self.files()?.into_iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// Makes the files that a configuration runs; returns all that are there. A damaged module is removed,
    /// and comes again.
    ///
    /// # Errors
    /// The directory cannot be read. What is not made is told, and is not there.
    pub fn prepare(&self, config: &Snapshot) -> Result<BTreeSet<ModuleFile>, ModuleError> {
        let _changing = self.changing();
        let (mut ready, held) = (self.ready()?, self.held()?);
        let wanted: BTreeSet<ModuleFile> =
            config.filter_modules().map(|(_, module)| module.file()).collect();
        for file in wanted {
            if ready.contains(&file) || !held.contains(&file.sha256) {
                continue;
            }
            match self.make(file) {
                Ok(()) => {
                    ready.insert(file);
                }
                Err(error) => {
                    let words = runtime::chain::chain(&error);
                    tracing::error!(error = %words, "a module does not run here");
                }
            }
        }
        Ok(ready)
    }

    /// Removes what neither the store has nor a configuration names.
    ///
    /// # Errors
    /// The directory cannot be read, or a file cannot be removed.
    pub fn forget_others(
        &self,
        stored: &BTreeSet<ModuleId>,
        config: &Snapshot,
    ) -> Result<(), ModuleError> {
        let _changing = self.changing();
        let named: BTreeSet<ModuleId> =
            config.filter_modules().map(|(_, module)| module.sha256).collect();
        let gone = |id: &ModuleId| !stored.contains(id) && !named.contains(id);
        for name in self.files()? {
            let id = name.split(LIMIT).next().and_then(|id| id.parse().ok());
            if id.as_ref().is_some_and(gone) {
                self.remove(&self.directory.join(name + EXTENSION))?;
            }
        }
        Ok(())
    }

    fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make(&self, file: ModuleFile) -> Result<(), ModuleError> {
        let whole = self.whole(file.sha256);
        let bytes = fs::read(&whole)
            .map_err(|source| ModuleError::Place { path: whole.clone(), source })?;
        let found = filter_code::sha256(&bytes);
        if found != file.sha256 {
            self.remove(&whole)?;
            return Err(ModuleError::OtherContent { wanted: file.sha256, found });
        }
        let limited = filter_code::limited(&bytes, file.memory_limit_mib)
            .map_err(|source| ModuleError::Unfit { file, source })?;
        Ok(durable::replace(&path(&self.directory, file), &limited, 0o600)?)
    }

    fn ready(&self) -> Result<BTreeSet<ModuleFile>, ModuleError> {
        let file = |name: String| {
            let (sha256, limit) = name.split_once(LIMIT)?;
            let (sha256, memory_limit_mib) = (sha256.parse().ok()?, limit.parse().ok()?);
            Some(ModuleFile { sha256, memory_limit_mib })
        };
        Ok(self.files()?.into_iter().filter_map(file).collect())
    }

    fn whole(&self, id: ModuleId) -> PathBuf {
        self.directory.join(format!("{id}{EXTENSION}"))
    }

    fn remove(&self, path: &Path) -> Result<(), ModuleError> {
        fs::remove_file(path).map_err(|source| ModuleError::Place { path: path.to_owned(), source })
    }

    /// Lists the names of the files, without what they end with.
    fn files(&self) -> Result<Vec<String>, ModuleError> {
        let failed = |source| ModuleError::Place { path: self.directory.to_path_buf(), source };
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.map_err(failed)?.file_name();
            names.extend(
                name.to_str().and_then(|name| name.strip_suffix(EXTENSION)).map(str::to_owned),
            );
        }
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> Vec<u8> {
        let usual = r#"(func (export "proxy_abi_version_0_2_1"))
            (func (export "malloc") (param i32) (result i32) (i32.const 0))"#;
        wat::parse_str(format!("(module {usual} {text})")).unwrap()
    }

    fn config(modules: &[(&str, ModuleId, u32)]) -> Snapshot {
        let mut config = Snapshot::default();
        for (name, sha256, limit) in modules {
            let yaml = format!(
                "kind: FilterModule\nmetadata: {{ name: {name} }}\nspec: {{ targetRefs: [{{ kind: \
                 Listener, name: a }}], sha256: {sha256}, memoryLimitMib: {limit} }}\n"
            );
            for object in model::parse::parse_documents(&yaml).unwrap() {
                config.put(Arc::new(object));
            }
        }
        config
    }

    fn file(sha256: ModuleId, memory_limit_mib: u32) -> ModuleFile {
        ModuleFile { sha256, memory_limit_mib }
    }

    #[test]
    fn a_module_is_kept_by_its_hash_limited_and_removed_when_nothing_has_it() {
        let directory = tempfile::tempdir().unwrap();
        let modules = Modules::new(&directory.path().join("modules"));
        let bytes = code("(memory (export \"memory\") 17)");
        let id = filter_code::sha256(&bytes);
        let wanted = config(&[("a", id, 4), ("b", id, 1), ("c", filter_code::sha256(b"c"), 4)]);
        assert_eq!(modules.prepare(&wanted).unwrap(), BTreeSet::new(), "it has not come");

        let error = modules.keep(id, b"another").unwrap_err();
        assert!(matches!(error, ModuleError::OtherContent { .. }), "{error}");
        modules.keep(id, &bytes).unwrap();
        assert_eq!(modules.held().unwrap(), [id].into());
        // It begins with more than 1 MiB.
        assert_eq!(modules.prepare(&wanted).unwrap(), [file(id, 4)].into());
        let limited = fs::read(path(modules.directory(), file(id, 4))).unwrap();
        assert_eq!(limited, filter_code::limited(&bytes, 4).unwrap());

        modules.forget_others(&[id].into(), &Snapshot::default()).unwrap();
        modules.forget_others(&BTreeSet::new(), &wanted).unwrap();
        assert_eq!(modules.prepare(&wanted).unwrap(), [file(id, 4)].into());
        modules.forget_others(&BTreeSet::new(), &Snapshot::default()).unwrap();
        assert_eq!(fs::read_dir(modules.directory()).unwrap().count(), 0);
    }

    #[test]
    fn a_damaged_module_is_not_run_and_comes_again() {
        let directory = tempfile::tempdir().unwrap();
        let modules = Modules::new(directory.path());
        let bytes = code("(memory (export \"memory\") 1)");
        let id = filter_code::sha256(&bytes);
        modules.keep(id, &bytes).unwrap();
        fs::write(directory.path().join(format!("{id}.wasm")), &bytes[1..]).unwrap();
        assert_eq!(modules.prepare(&config(&[("a", id, 4)])).unwrap(), BTreeSet::new());
        assert_eq!(modules.held().unwrap(), BTreeSet::new());
        modules.keep(id, &bytes).unwrap();
        assert_eq!(modules.prepare(&config(&[("a", id, 4)])).unwrap(), [file(id, 4)].into());
    }
}
