//! A model of a disk that loses power: it knows what the store has forced to it, and nothing else is
//! sure to be there afterwards.
//!
//! The store tells what it flushes ([`watch_flushes`]): parts of files, the names in a folder, or a
//! whole file system. The content at the moment when a flush began is durable when it has reported
//! success; a name is durable when its folder was flushed, and the folders above had been. All other
//! pages are there or not, each for itself. Names that are not durable are lost from the newest back,
//! and with the last one perhaps the file's length: file systems with a journal keep the order of such
//! changes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use rocketmq::store::fault::{Fault, FlushWatcher, Flushed, watch_flushes};

use crate::folder::Folder;
use crate::model::Numbers;

const PAGE: usize = 4096;

/// What a file or folder is recognized by, whatever its name.
type Inode = (u64, Option<SystemTime>);

/// The number under which the model knows a file; it stays when the store is copied.
type FileId = u64;

/// Files of a store by their path in it. A folder has no content.
type Tree = BTreeMap<PathBuf, (FileId, Option<Vec<u8>>)>;

#[derive(Clone, Default)]
struct State {
    ids: HashMap<Inode, FileId>,
    /// Names that are on the disk.
    names: BTreeMap<PathBuf, FileId>,
    /// What is on the disk of each file; those that are missing may have no length yet.
    content: HashMap<FileId, Vec<u8>>,
    next_id: FileId,
}

impl State {
    fn id(&mut self, path: &Path) -> Option<FileId> {
        let meta = std::fs::metadata(path).ok()?;
        let inode = (meta.ino(), meta.created().ok());
        Some(*self.ids.entry(inode).or_insert_with(|| {
            self.next_id += 1;
            self.next_id
        }))
    }

    /// Everything below a folder, as the process sees it.
    fn read(&mut self, root: &Path, below: &Path, tree: &mut Tree) {
        let Ok(entries) = std::fs::read_dir(root.join(below)) else { return };
        for entry in entries.flatten() {
            let path = below.join(entry.file_name());
            let Some(id) = self.id(&entry.path()) else { continue };
            if entry.path().is_dir() {
                tree.insert(path.clone(), (id, None));
                self.read(root, &path, tree);
            } else if let Ok(bytes) = std::fs::read(entry.path()) {
                tree.insert(path, (id, Some(bytes)));
            }
        }
    }

    fn make_durable(&mut self, folder: &Path, names: Tree) {
        self.names.retain(|path, _| path.parent() != Some(folder));
        self.names.extend(names.into_iter().map(|(path, (id, _))| (path, id)));
    }

    fn is_durable(&self, path: &Path) -> bool {
        let above = path.ancestors().filter(|path| *path != Path::new(""));
        above.into_iter().all(|path| self.names.contains_key(path))
    }
}

/// A folder, and what a power cut would leave of it.
pub struct Disk {
    pub folder: Folder,
    state: Arc<Mutex<State>>,
    _watching: Fault,
}

/// A disk at one moment: what the process sees, and what is durable.
pub struct Moment {
    now: Tree,
    state: State,
}

impl Disk {
    /// An empty one.
    pub fn new() -> Self {
        Self::of(State::default(), &Tree::new())
    }

    /// A disk with these files, of which `state` is durable.
    fn of(mut state: State, tree: &Tree) -> Self {
        let folder = Folder::new("disk");
        state.ids.clear();
        for (path, (id, bytes)) in tree {
            let path = folder.path().join(path);
            match bytes {
                Some(bytes) => std::fs::write(&path, bytes).unwrap(),
                None => std::fs::create_dir(&path).unwrap(),
            }
            let meta = std::fs::metadata(&path).unwrap();
            state.ids.insert((meta.ino(), meta.created().ok()), *id);
        }
        let state = Arc::new(Mutex::new(state));
        let _watching = watch_flushes(folder.path(), watcher(folder.path(), &state));
        Self { folder, state, _watching }
    }

    /// This moment. The process may go on meanwhile, but no flush ends: nothing that the files tell
    /// already, and the checkpoint above all, vouches for one that is not in the model.
    pub fn moment(&self) -> Moment {
        let mut state = self.state.lock().unwrap();
        let mut now = Tree::new();
        state.read(self.folder.path(), Path::new(""), &mut now);
        Moment { now, state: state.clone() }
    }
}

impl Moment {
    /// The process was killed: everything is as it saw it, and no more durable than before.
    pub fn killed(&self) -> Disk {
        Disk::of(self.state.clone(), &self.now)
    }

    /// The power was cut. What is left is durable.
    pub fn power_cut(&self, numbers: &mut Numbers) -> Disk {
        let mut left = Tree::new();
        let mut lost = BTreeSet::new();
        for (path, (id, now)) in &self.now {
            let folder = path.parent().unwrap().to_owned();
            let above_is_lost = folder != Path::new("") && !left.contains_key(&folder);
            let durable = self.state.names.get(path) == Some(id) && self.state.is_durable(path);
            if above_is_lost {
                assert!(!durable, "{} is durable", path.display());
                continue;
            }
            if !durable && (lost.contains(&folder) || numbers.below(8) == 0) {
                lost.insert(folder);
                continue;
            }
            let Some(now) = now else {
                left.insert(path.clone(), (*id, None));
                continue;
            };
            let bytes = match self.state.content.get(id) {
                Some(old) => mix(old, now, numbers),
                // A name may be there before its file has a length, if no later file is.
                None if !self.later_is_durable(path) && numbers.below(8) == 0 => {
                    lost.insert(folder);
                    Vec::new()
                }
                None => mix(&vec![0; now.len()], now, numbers),
            };
            left.insert(path.clone(), (*id, Some(bytes)));
        }
        // Files may come back that were removed, when nobody made that durable.
        for (path, id) in &self.state.names {
            let content = self.state.content.get(id);
            if let Some(content) = content.filter(|_| !self.now.contains_key(path))
                && left.contains_key(path.parent().unwrap())
                && numbers.below(2) == 0
            {
                left.insert(path.clone(), (*id, Some(content.clone())));
            }
        }
        let mut state = State { next_id: self.state.next_id, ..State::default() };
        for (path, (id, bytes)) in &left {
            state.names.insert(path.clone(), *id);
            state.content.extend(bytes.iter().map(|bytes| (*id, bytes.clone())));
        }
        Disk::of(state, &left)
    }
}

impl Moment {
    /// Whether a later file of the folder is sure to be there, and with it all changes before it.
    fn later_is_durable(&self, path: &Path) -> bool {
        let later = self.now.range(path.to_owned()..).skip(1);
        later.take_while(|(later, _)| later.parent() == path.parent()).any(|(later, (id, _))| {
            self.state.names.get(later) == Some(id) || self.state.content.contains_key(id)
        })
    }
}

/// Each page as it was, or as it is; how many are lost is itself a matter of luck.
fn mix(old: &[u8], new: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let chance = numbers.below(5);
    let pages = old.chunks(PAGE).zip(new.chunks(PAGE));
    let chosen = pages.flat_map(|(old, new)| if numbers.below(4) < chance { old } else { new });
    let mut bytes: Vec<u8> = chosen.copied().collect();
    bytes.extend(new.iter().skip(bytes.len()));
    bytes
}

/// Notes in `state` what is flushed below `root`.
fn watcher(root: &Path, state: &Arc<Mutex<State>>) -> Arc<FlushWatcher> {
    let (root, state) = (root.to_owned(), Arc::clone(state));
    Arc::new(move |path, what| {
        let mut before = state.lock().unwrap();
        let below = path.strip_prefix(&root).unwrap().to_owned();
        let mut tree = Tree::new();
        match what {
            Flushed::Bytes(_) => {
                if let (Some(id), Ok(bytes)) = (before.id(path), std::fs::read(path)) {
                    tree.insert(below.clone(), (id, Some(bytes)));
                }
            }
            Flushed::Names => {
                let Ok(entries) = std::fs::read_dir(path) else { return Box::new(|| {}) };
                for entry in entries.flatten() {
                    let id = before.id(&entry.path());
                    tree.extend(id.map(|id| (below.join(entry.file_name()), (id, None))));
                }
            }
            Flushed::Zeros(_) => {}
            Flushed::FileSystem => before.read(&root, Path::new(""), &mut tree),
        }
        drop(before);
        let (state, what) = (Arc::clone(&state), what.clone());
        Box::new(move || {
            let mut state = state.lock().unwrap();
            match what {
                Flushed::Bytes(range) => {
                    for (id, bytes) in tree.into_values() {
                        let bytes = bytes.unwrap();
                        let durable = state.content.entry(id).or_default();
                        durable.resize(bytes.len(), 0);
                        let range = range.start.min(bytes.len())..range.end.min(bytes.len());
                        durable[range.clone()].copy_from_slice(&bytes[range]);
                    }
                }
                Flushed::Zeros(_) => {}
                Flushed::Names => state.make_durable(&below, tree),
                Flushed::FileSystem => {
                    state.names.clear();
                    for (path, (id, bytes)) in tree {
                        state.names.insert(path, id);
                        state.content.extend(bytes.map(|bytes| (id, bytes)));
                    }
                }
            }
        })
    })
}
