//! `modules`, and the files that documents name in place of a module's hash.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use model::{
    Kind, ModuleId,
    api::{ModuleInfo, ModuleList},
    limits::MAX_MODULE_BYTES,
};
use runtime::filter_code;
use serde_json::Value;

use super::{
    arguments::{ModulesCommand, Output},
    exit::Failure,
    input::Input,
    print,
    view::modules,
};
use crate::client::{Client, Request};

/// Why documents with modules cannot be applied.
#[derive(Debug, thiserror::Error)]
pub enum ModuleFileError {
    /// The module is not one that is taken.
    #[error("{} is not taken: {source}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Why.
        source: filter_code::InvalidCode,
    },
    /// Two fields say which module it is.
    #[error("{object} names both a file and a sha256: remove one of them")]
    Twice {
        /// The object's name.
        object: String,
    },
}

pub(super) async fn modules(
    client: &Client,
    command: Option<ModulesCommand>,
    output: Output,
) -> Result<(), Failure> {
    match command.unwrap_or(ModulesCommand::List { output }) {
        ModulesCommand::List { output } => {
            let list: ModuleList = client.call(Request::get("/v1/modules")).await?;
            print::answer(output.format, &list, |list| modules::table(&list.modules))
        }
        ModulesCommand::Push { file, output } => {
            let info = upload(client, &file).await?;
            print::answer(output.format, &info, |info| format!("{}\n", info.sha256))
        }
        ModulesCommand::Delete { sha256 } => {
            client.send(&Request::delete(&path(sha256))).await?;
            print::out(&format!("module {sha256} removed\n"))
        }
    }
}

/// Makes one text of what was read; uploads the files that FilterModules name, if that is asked for, and
/// puts their hashes in their places.
pub(super) async fn resolved(
    client: &Client,
    inputs: Vec<Input>,
    uploads: bool,
) -> Result<String, Failure> {
    let mut texts = Vec::with_capacity(inputs.len());
    for Input { path, text } in inputs {
        // Which is not readable, the API says, with all else that is wrong.
        let documents = model::parse::raw_documents(&text).unwrap_or_default();
        if !documents.iter().any(|document| file_of(document).is_some()) {
            texts.push(text);
            continue;
        }
        for mut document in documents {
            if let Some(file) = file_of(&document) {
                let file = beside(&path, file);
                let sha256 = match uploads {
                    true => upload(client, &file).await?.sha256,
                    false => filter_code::sha256(&read(&file)?),
                };
                replace(&mut document, sha256)?;
            }
            texts.push(document.to_string());
        }
    }
    Ok(texts.join("\n---\n"))
}

/// The file that a document names.
fn file_of(document: &Value) -> Option<&str> {
    (document["kind"] == Kind::FilterModule.as_str()).then(|| document["spec"]["file"].as_str())?
}

fn replace(document: &mut Value, sha256: ModuleId) -> Result<(), Failure> {
    let object = document["metadata"]["name"].to_string();
    let Some(spec) = document["spec"].as_object_mut() else { return Ok(()) };
    spec.remove("file");
    if spec.insert("sha256".to_owned(), sha256.to_string().into()).is_some() {
        return Err(ModuleFileError::Twice { object }.into());
    }
    Ok(())
}

/// A path that a document names is relative to the document, or to the working directory when that comes
/// by the standard input.
fn beside(document: &Path, file: &str) -> PathBuf {
    match document.parent().filter(|_| document.as_os_str() != "-") {
        Some(directory) => directory.join(file),
        None => PathBuf::from(file),
    }
}

async fn upload(client: &Client, file: &Path) -> Result<ModuleInfo, Failure> {
    let bytes = read(file)?;
    let code = filter_code::inspect(&bytes)
        .map_err(|source| ModuleFileError::Invalid { path: file.to_owned(), source })?;
    Ok(client.call(Request::put(&path(code.sha256)).module(bytes)).await?)
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |source| Failure::Read { path: file.to_owned(), source };
    let mut bytes = Vec::new();
    let file = fs::File::open(file).map_err(failed)?;
    // One more says that it is too large.
    file.take(MAX_MODULE_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

fn path(module: ModuleId) -> String {
    format!("/v1/modules/{module}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_file_is_beside_its_document() {
        assert_eq!(beside(Path::new("/a/b.yaml"), "./x.wasm"), Path::new("/a/./x.wasm"));
        assert_eq!(beside(Path::new("b.yaml"), "x.wasm"), Path::new("x.wasm"));
        assert_eq!(beside(Path::new("/a/b.yaml"), "/x.wasm"), Path::new("/x.wasm"));
        assert_eq!(beside(Path::new("-"), "x.wasm"), Path::new("x.wasm"));
    }

    #[test]
    fn the_hash_takes_the_place_of_the_file() {
        let document = |spec: Value| json!({"kind": "FilterModule", "spec": spec});
        let mut named = document(json!({"file": "x.wasm", "order": 1}));
        assert_eq!(file_of(&named), Some("x.wasm"));
        replace(&mut named, ModuleId([0xab; 32])).unwrap();
        assert_eq!(named["spec"], json!({"order": 1, "sha256": "ab".repeat(32)}));
        let mut both = document(json!({"file": "x.wasm", "sha256": "y"}));
        assert!(replace(&mut both, ModuleId([0; 32])).is_err());
        let other = json!({"kind": "Service", "spec": {"file": "x.wasm"}});
        assert_eq!(file_of(&other), None);
    }
}
