//! Documents from files, directories and the standard input.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use super::exit::Failure;

const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];
/// What the API takes.
const INPUT_BYTES_MAX: u64 = crate::api::BODY_BYTES_MAX as u64;

/// A text, and the file that it is from, or `-`.
#[derive(Debug)]
pub(super) struct Input {
    pub(super) path: PathBuf,
    pub(super) text: String,
}

/// Reads everything that was named, in the order named.
pub(super) fn read(paths: &[PathBuf]) -> Result<Vec<Input>, Failure> {
    if paths.iter().filter(|path| is_stdin(path)).count() > 1 {
        return Err(Failure::Usage { reason: "-f - may be given once only".to_owned() });
    }
    let mut inputs = Vec::new();
    for path in paths {
        for path in expand(path)? {
            let text = read_one(&path)?;
            inputs.push(Input { path, text });
        }
    }
    Ok(inputs)
}

/// Reads one file, or the standard input for `-`.
pub(super) fn read_one(path: &Path) -> Result<String, Failure> {
    let failed = |source| Failure::Read { path: path.to_owned(), source };
    let mut content = String::new();
    let read = if is_stdin(path) {
        io::stdin().lock().take(INPUT_BYTES_MAX + 1).read_to_string(&mut content)
    } else {
        fs::File::open(path)
            .and_then(|file| file.take(INPUT_BYTES_MAX + 1).read_to_string(&mut content))
    };
    let length = read.map_err(failed)?;
    if length as u64 > INPUT_BYTES_MAX {
        return Err(failed(io::Error::other(format!("larger than {INPUT_BYTES_MAX} bytes"))));
    }
    Ok(content)
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// A directory's configuration files in order of their names; any other path as it is.
fn expand(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    if is_stdin(path) || !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let failed = |source| Failure::Read { path: path.to_owned(), source };
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        let known = file
            .extension()
            .is_some_and(|extension| EXTENSIONS.iter().any(|known| extension == *known));
        if known && file.is_file() {
            files.push(file);
        }
    }
    if files.is_empty() {
        return Err(failed(io::Error::other("no *.yaml, *.yml or *.json in this directory")));
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_read_in_order_and_other_files_are_left_out() {
        let directory = tempfile::tempdir().unwrap();
        for (name, content) in
            [("b.yml", "b: 1"), ("a.yaml", "a: 1"), ("c.json", "{}"), ("README.md", "no")]
        {
            fs::write(directory.path().join(name), content).unwrap();
        }
        let inputs = read(&[directory.path().to_owned()]).unwrap();
        let texts: Vec<_> = inputs.iter().map(|input| input.text.as_str()).collect();
        assert_eq!(texts, ["a: 1", "b: 1", "{}"]);
        assert_eq!(inputs[1].path, directory.path().join("b.yml"));
    }

    #[test]
    fn what_is_missing_or_empty_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let empty = read(&[directory.path().to_owned()]).unwrap_err();
        assert!(matches!(empty, Failure::Read { .. }));
        let missing = directory.path().join("nowhere.yaml");
        let error = read(std::slice::from_ref(&missing)).unwrap_err();
        assert!(error.to_string().contains("nowhere.yaml"), "{error}");
        assert!(read(&["-".into(), "-".into()]).is_err());
    }
}
