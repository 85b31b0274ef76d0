//! The few file operations that durability rests on, as a seam for fault injection.
//!
//! The log, the snapshots and the directory's header go through [`Disk`]; the store does not,
//! because it may be lost at any time. An implementation must not report a `sync` as done before
//! the bytes are on the device.

mod simulated;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

pub use simulated::SimulatedDisk;

/// A file that is written at offsets.
pub trait DiskFile: Send + Sync {
    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// Anything that kept a byte from being written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Fills `bytes` from `offset`.
    ///
    /// # Errors
    /// Fails when the file is shorter.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()>;
    /// Returns once everything written so far is on the device (`fdatasync`).
    ///
    /// # Errors
    /// After an error nothing is known about what was written since the last success.
    fn sync(&self) -> io::Result<()>;
    /// The length in bytes.
    ///
    /// # Errors
    /// When the file's metadata cannot be read.
    fn size(&self) -> io::Result<u64>;
}

/// A folder tree that survives a power loss as far as it was synced.
pub trait Disk: Send + Sync + 'static {
    /// Creates `path`, or empties it.
    ///
    /// # Errors
    /// As the file system reports them.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Opens an existing file for reading and writing.
    ///
    /// # Errors
    /// As the file system reports them.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Lists the names in a folder; creates the folder when it is missing.
    ///
    /// # Errors
    /// As the file system reports them.
    fn list(&self, folder: &Path) -> io::Result<Vec<String>>;
    /// Gives a file another name, replacing what stood there.
    ///
    /// # Errors
    /// As the file system reports them.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    ///
    /// # Errors
    /// As the file system reports them.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Returns once creations, renames and removals in `folder` are on the device.
    ///
    /// # Errors
    /// As the file system reports them.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
    /// Returns how many bytes are free for files of `folder`.
    ///
    /// # Errors
    /// As the file system reports them.
    fn free(&self, folder: &Path) -> io::Result<u64>;
}

/// The operating system's file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl DiskFile for File {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        Ok(Box::new(file))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(OpenOptions::new().read(true).write(true).open(path)?))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        fs::create_dir_all(folder)?;
        let mut names = Vec::new();
        for entry in fs::read_dir(folder)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }

    fn free(&self, folder: &Path) -> io::Result<u64> {
        let told = nix::sys::statvfs::statvfs(folder)?;
        Ok(told.blocks_available() * told.fragment_size())
    }
}

/// Writes `bytes` to `path` so that after a power loss either the old or the new content is there.
///
/// # Errors
/// As the disk reports them; the old content is then still there.
pub fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder: PathBuf = path.parent().map(Path::to_path_buf).unwrap_or_default();
    let temporary = path.with_extension("tmp");
    let file = disk.create(&temporary)?;
    file.write_at(bytes, 0)?;
    file.sync()?;
    disk.rename(&temporary, path)?;
    disk.sync_folder(&folder)
}
