//! A server's folder out of layers: fetched into the node's cache, merged in the best way that this machine knows, variables put in.
//!
//! Called by the server's worker before its container is made, while the container does not run; one call at a time for each server. Many
//! servers share one cache. What must stay true: a layer that a server is made of never changes and never goes; what a server wrote
//! stays unless a new layer brings that file; after a kill at any point the same call does the rest; nothing that failed is left in the
//! cache.
//!
//! | file | what it does |
//! | --- | --- |
//! | `cache`, `fetch` | unpacked layers; how they come here |
//! | `probe` | which way works on this disk |
//! | `plan`, `place` | what has to be done to a server's folder, and doing it |
//! | `record` | the memory on the disk |

mod cache;
mod error;
mod fetch;
mod place;
mod plan;
mod probe;
mod record;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};
use tokio::sync::{Mutex as Lock, Semaphore};
use tokio_util::task::TaskTracker;

use crate::archives::Limits;
use crate::archives::beneath::Beneath;
use crate::archives::remove::remove;
use crate::model::checksum::Checksum;
use crate::model::ids::TemplateId;
use crate::model::layers::{Change, LAYERS_MAX, LayerRef, Merged, changes, merge};
use crate::model::variables::{TEXT_MAX, Unknown, fill_in};
use cache::{Cache, Lease};
pub use cache::{Cached, Purged};
pub use error::LayersError;
use fetch::Fetcher;
pub use fetch::{LayerUrls, TRIES};
use place::{Sources, retire_rendered};
use plan::{Copies, Plan, stale_in_overlay};
pub use probe::Way;
pub use probe::{OPAQUE, YES};
use record::{Head, Provenance, Used, read_head, read_provenance, write_both, write_provenance};

/// The server's own folder, in its home.
pub const DATA: &str = "data";
/// What an overlay needs beside it.
const WORK: &str = "work";
/// Longest line of options that the kernel takes for a mount, with room for what Docker adds.
const OPTIONS_MAX: usize = 4_000;
/// Fetches under way together.
pub const FETCHES: usize = 3;

/// Settings of the layers of one agent.
#[derive(Debug, Clone)]
pub struct LayersConfig {
    /// The agent's data folder; absolute, because Docker mounts what lies below it.
    pub data_dir: PathBuf,
    /// How much one archive may hold.
    pub limits: Limits,
    /// Fetches under way together.
    pub fetches: usize,
    /// The way, where somebody chose it; none: the best that works.
    pub way: Option<Way>,
}

/// What a server is to be made of.
#[derive(Debug, Clone)]
pub struct Request {
    /// The server's folder; `data` in it is its own, and the rest is the agent's.
    pub home: PathBuf,
    /// The first is lowest.
    pub layers: Vec<LayerRef>,
    /// Names and values that stand in text files.
    pub variables: BTreeMap<String, String>,
    /// `uid` and `gid` of the game, where it is not root.
    pub owner: Option<(u32, u32)>,
}

/// A server's folder that is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// How it was made.
    pub way: Way,
    /// Lower folders of the overlay, the highest first; empty: `upper` is the whole folder and is mounted as it is.
    pub lower: Vec<PathBuf>,
    /// The server's own folder.
    pub upper: PathBuf,
    /// What an overlay needs beside it.
    pub work: PathBuf,
    /// Variables that nobody knows, and where they stand.
    pub unknown_variables: Vec<Unknown>,
    /// The server's own files that gave way to new layers.
    pub replaced: Vec<String>,
    /// Files with variables that have other values now, and that stay because the server changed them.
    pub outdated: Vec<String>,
}

impl Prepared {
    /// The options of a Docker volume of driver `local`, type `overlay`, device `overlay`; none: no overlay, bind `upper`. Whenever they
    /// change, the volume has to be made anew.
    pub fn volume_options(&self) -> Option<String> {
        let lower: Vec<&Path> = self.lower.iter().map(PathBuf::as_path).collect();
        (!lower.is_empty()).then(|| probe::options(&lower, &self.upper, &self.work))
    }
}

/// What a preparation would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outlook {
    /// What other layers bring and take.
    pub changes: Vec<Change>,
    /// The server's own files that would give way.
    pub replaced: Vec<String>,
}

/// What the cache was good for since the agent's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Layers that were there.
    pub hits: u64,
    /// Layers that had to be fetched.
    pub misses: u64,
}

/// A layer, for files of one owner.
type Key = (LayerRef, Option<(u32, u32)>);
/// One fetch of a layer at a time; the name of what the last one made.
type FetchLock = Arc<Lock<Option<String>>>;

/// The layers of one agent.
pub struct Layers {
    way: Way,
    cache: Arc<Cache>,
    fetcher: Fetcher,
    turns: Semaphore,
    settling: TaskTracker,
    unsettled: Mutex<Vec<(Key, String)>>,
    locks: Mutex<HashMap<Key, FetchLock>>,
    urls: Arc<dyn LayerUrls>,
    dev_mode: AtomicBool,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// All that is known before anything is touched.
struct Work {
    request: Request,
    leases: Vec<Lease>,
    way: Way,
    inputs: Checksum,
    head: Option<Head>,
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, LayersError> + Send + 'static) -> Result<T, LayersError> {
    let ended = tokio::task::spawn_blocking(work).await;
    ended.unwrap_or_else(|error| Err(LayersError::Disk { what: "finish a step with layers", source: io::Error::other(error) }))
}

impl Layers {
    /// Clears what a kill left, and tries out which way works.
    pub async fn open(config: LayersConfig, urls: Arc<dyn LayerUrls>) -> Result<Layers, LayersError> {
        let made = blocking(move || {
            let failed = LayersError::disk("open its cache of templates");
            let cache = Cache::open(&config.data_dir).map_err(&failed)?;
            let way = config.way.unwrap_or_else(|| probe::probe(&config.data_dir));
            Ok((cache, way, Fetcher::new(config.limits, way).map_err(failed)?, config.fetches))
        });
        let (cache, way, fetcher, together) = made.await?;
        Ok(Layers {
            way,
            cache,
            fetcher,
            turns: Semaphore::new(together.max(1)),
            settling: TaskTracker::new(),
            unsettled: Mutex::default(),
            locks: Mutex::default(),
            urls,
            dev_mode: AtomicBool::new(false),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        })
    }

    /// How new servers are made here.
    pub fn way(&self) -> Way {
        self.way
    }

    /// In dev mode the cache is passed over and every layer fetched anew.
    pub fn set_dev_mode(&self, on: bool) {
        self.dev_mode.store(on, Ordering::Relaxed);
    }

    /// Is the cache passed over?
    pub fn dev_mode(&self) -> bool {
        self.dev_mode.load(Ordering::Relaxed)
    }

    /// Is something of this server's folder made of layers?
    pub fn laid_out(home: &Path) -> bool {
        home.join(record::HEAD_FILE).exists()
    }

    /// What lies below the data of a server that is an overlay, the highest first; empty: its data are the whole of what its game sees.
    /// Stays as it is until the server is prepared anew.
    pub fn below(data_dir: &Path, home: &Path) -> io::Result<Vec<PathBuf>> {
        let Some(head) = read_head(home)?.filter(|head| head.way == Way::Overlay) else { return Ok(Vec::new()) };
        let rendered = head.rendered.iter().map(|name| home.join(name));
        Ok(rendered.chain(head.layers.iter().rev().map(|used| Cache::tree_in(data_dir, &used.folder))).collect())
    }

    /// Files of layers that lie in a server's own folder, although it is an overlay.
    pub fn copied(home: &Path) -> io::Result<BTreeSet<String>> {
        Ok(read_provenance(home)?.copied)
    }

    /// Remembers which of them do, after the folder was exchanged for another.
    pub fn set_copied(home: &Path, copied: BTreeSet<String>) -> io::Result<()> {
        let before = read_provenance(home)?;
        if before.copied == copied { Ok(()) } else { write_provenance(home, &Provenance { copied, ..before }) }
    }

    /// Fetched layers that the disk is still writing. Before this is 0, the data folder is not to be taken away.
    pub fn settling(&self) -> usize {
        self.settling.len()
    }

    /// Hits and misses of the cache.
    pub fn counts(&self) -> Counts {
        Counts { hits: self.hits.load(Ordering::Relaxed), misses: self.misses.load(Ordering::Relaxed) }
    }

    /// What is in the cache.
    pub async fn cached(&self) -> Result<Vec<Cached>, LayersError> {
        let cache = self.cache.clone();
        blocking(move || cache.list().map_err(LayersError::disk("list its cache of templates"))).await
    }

    /// Removes all layers, or those of some templates, that no server is made of.
    pub async fn purge(&self, templates: Option<Vec<TemplateId>>) -> Result<Purged, LayersError> {
        let cache = self.cache.clone();
        blocking(move || cache.purge(templates.as_deref()).map_err(LayersError::disk("purge its cache of templates"))).await
    }

    /// Makes the server's folder ready. Asked again with the same, it does nothing.
    pub async fn prepare(&self, request: Request) -> Result<Prepared, LayersError> {
        let made = match self.gather(request).await {
            Ok(work) => blocking(move || work.carry_out()).await,
            Err(error) => Err(error),
        };
        self.settle();
        made
    }

    /// What [`Layers::prepare`] would do; fetches layers that are not here, and touches nothing of the server's.
    pub async fn look(&self, request: Request) -> Result<Outlook, LayersError> {
        let gathered = self.gather(request).await;
        self.settle();
        let work = gathered?;
        blocking(move || {
            let view = work.view()?;
            // Where there is nothing of a server's yet, nothing can give way.
            let there = work.request.home.join(DATA).exists();
            let plan = if there { work.plan(&view)? } else { Plan::default() };
            Ok(Outlook { changes: view.changes, replaced: plan.replaced })
        })
        .await
    }

    async fn gather(&self, request: Request) -> Result<Work, LayersError> {
        if request.layers.len() > LAYERS_MAX {
            return Err(LayersError::TooMany(LAYERS_MAX));
        }
        let head = read_head(&request.home).map_err(LayersError::disk("read what a server is made of"))?;
        // A server stays what it was made as: the two kinds of folder do not mean the same.
        let way = match (head.as_ref().map(|head| head.way), self.way) {
            (None, way) | (Some(Way::Overlay), way @ Way::Overlay) => way,
            (Some(Way::Overlay), Way::Reflink | Way::Copy) => return Err(LayersError::WayGone),
            (Some(Way::Reflink | Way::Copy), Way::Overlay) => Way::Reflink,
            (Some(Way::Reflink | Way::Copy), way @ (Way::Reflink | Way::Copy)) => way,
        };
        let fetched = request.layers.iter().map(|layer| self.layer(layer, request.owner));
        let leases = futures_util::future::try_join_all(fetched).await?;
        let inputs = Sha256::digest(format!("{:?}\n{:?}", request.variables, request.owner));
        Ok(Work { inputs: <[u8; 32]>::from(inputs).into(), request, leases, way, head })
    }

    /// A layer out of the cache, or fetched into it.
    async fn layer(&self, layer: &LayerRef, owner: Option<(u32, u32)>) -> Result<Lease, LayersError> {
        let dev_mode = self.dev_mode.load(Ordering::Relaxed);
        if !dev_mode && let Some(lease) = self.find(layer, owner).await? {
            self.count(true);
            return Ok(lease);
        }
        let key = (layer.clone(), owner);
        let lock = self.locks.lock().unwrap_or_else(PoisonError::into_inner).entry(key.clone()).or_default().clone();
        let result = self.fetch_alone(layer, owner, &lock, dev_mode).await;
        drop(lock);
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        if locks.get(&key).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            locks.remove(&key);
        }
        result
    }

    /// One at a time: whoever waited takes what the other one has fetched, which is fresh enough for dev mode, too.
    async fn fetch_alone(
        &self,
        layer: &LayerRef,
        owner: Option<(u32, u32)>,
        lock: &FetchLock,
        dev_mode: bool,
    ) -> Result<Lease, LayersError> {
        let (mut last, waited) = match lock.try_lock() {
            Ok(last) => (last, false),
            Err(_) => (lock.lock().await, true),
        };
        if waited || !dev_mode {
            let fresh = |lease: &Lease| !dev_mode || last.as_deref() == Some(lease.folder.as_str());
            if let Some(lease) = self.find(layer, owner).await?.filter(fresh) {
                self.count(true);
                return Ok(lease);
            }
        }
        self.fetch(layer, owner, &mut last).await
    }

    fn count(&self, hit: bool) {
        let counter = if hit { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    async fn find(&self, layer: &LayerRef, owner: Option<(u32, u32)>) -> Result<Option<Lease>, LayersError> {
        let (cache, layer, way) = (self.cache.clone(), layer.clone(), self.way);
        blocking(move || cache.find(&layer, owner, way).map_err(LayersError::disk("look into its cache of templates"))).await
    }

    async fn fetch(&self, layer: &LayerRef, owner: Option<(u32, u32)>, last: &mut Option<String>) -> Result<Lease, LayersError> {
        self.count(false);
        let turn = self.turns.acquire().await;
        let (incoming, unpacked) = self.fetcher.fetch(|| self.cache.incoming(), layer, owner, &*self.urls).await?;
        drop(turn);
        let (cache, named, way) = (self.cache.clone(), layer.clone(), self.way);
        let placed = blocking(move || {
            let placed = cache.place(&incoming, &named, owner, way, unpacked);
            if placed.is_err() {
                let _ = remove(&incoming);
            }
            placed.map_err(LayersError::disk("put a template into its cache"))
        });
        let lease = placed.await?;
        *last = Some(lease.folder.clone());
        let fetched = ((layer.clone(), owner), lease.folder.clone());
        self.unsettled.lock().unwrap_or_else(PoisonError::into_inner).push(fetched);
        Ok(lease)
    }

    /// Makes sure, behind everybody's back, that the disk has what was fetched; until then, a power cut means that it is fetched again.
    /// Not before a server is ready: both would wait for the same disk.
    fn settle(&self) {
        let fetched = std::mem::take(&mut *self.unsettled.lock().unwrap_or_else(PoisonError::into_inner));
        if fetched.is_empty() {
            return;
        }
        let cache = self.cache.clone();
        drop(self.settling.spawn_blocking(move || {
            for ((layer, owner), folder) in fetched {
                if let Err(error) = cache.sync(&folder).and_then(|()| cache.retire(&layer, owner, &folder)) {
                    tracing::warn!(%error, %folder, "a cached template could not be settled");
                }
            }
        }));
    }
}

/// Files of the layers with variables put in, by path.
type Rendered = BTreeMap<String, Vec<u8>>;

/// Layers merged, compared with what is there, and variables put in.
struct View {
    before: Provenance,
    merged: Merged,
    changes: Vec<Change>,
    rendered: Rendered,
    sums: BTreeMap<String, Checksum>,
    unknown: Vec<Unknown>,
}

impl Work {
    fn used(&self) -> Vec<Used> {
        self.leases.iter().map(|lease| Used { layer: lease.layer.of.clone(), folder: lease.folder.clone() }).collect()
    }

    fn view(&self) -> Result<View, LayersError> {
        let before = read_provenance(&self.request.home).map_err(LayersError::disk("read what a server is made of"))?;
        let manifests = self.leases.iter().map(Lease::manifest).collect::<Result<Vec<_>, _>>()?;
        let merged = merge(&manifests);
        drop(manifests);
        if !merged.missing.is_empty() {
            return Err(LayersError::Missing(merged.missing));
        }
        let changes = changes(&before.merged, &merged);
        let (rendered, unknown) = self.render(&merged).map_err(LayersError::disk("put variables into a file"))?;
        let sums = rendered.iter().map(|(path, text)| (path.clone(), <[u8; 32]>::from(Sha256::digest(text)).into())).collect();
        Ok(View { before, merged, changes, rendered, sums, unknown })
    }

    /// Only files that are known to hold a variable are read, and only where no later layer has another.
    fn render(&self, merged: &Merged) -> io::Result<(Rendered, Vec<Unknown>)> {
        let (mut rendered, mut unknown) = (BTreeMap::new(), Vec::new());
        for (number, lease) in self.leases.iter().enumerate() {
            let tree = lease.tree();
            let own = |path: &&String| merged.entries.get(*path).is_some_and(|placed| placed.layer == number);
            for path in lease.layer.with_variables.iter().filter(own) {
                let file = tree.join(path);
                if fs::metadata(&file)?.len() > TEXT_MAX {
                    continue;
                }
                let (out, names) = fill_in(&fs::read(file)?, path, &self.request.variables);
                unknown.extend(names.into_iter().map(|name| Unknown { name, path: path.clone() }));
                rendered.extend(out.map(|out| (path.clone(), out)));
            }
        }
        unknown.sort();
        Ok((rendered, unknown))
    }

    fn plan(&self, view: &View) -> Result<Plan, LayersError> {
        let failed = LayersError::disk("look at a server's files");
        let mut folder = Beneath::open(&self.request.home.join(DATA), self.request.owner).map_err(&failed)?;
        let (after, rendered) = (&view.merged, &view.sums);
        let plan = match self.way {
            Way::Overlay => {
                let before = &view.before.of_copied();
                Copies { before, after, rendered }.plan_overlay(&mut folder, &view.changes).and_then(|mut plan| {
                    plan.outdated = stale_in_overlay(&mut folder, &view.before, rendered)?;
                    Ok(plan)
                })
            }
            Way::Reflink | Way::Copy => Copies { before: &view.before, after, rendered }.plan(&mut folder, &view.changes),
        };
        plan.map_err(failed)
    }

    fn prepared(&self, head: &Head, plan: Plan) -> Result<Prepared, LayersError> {
        let home = &self.request.home;
        let overlay = self.way == Way::Overlay && (head.rendered.is_some() || !self.leases.is_empty());
        let rendered = head.rendered.iter().map(|name| home.join(name));
        let lower = rendered.chain(self.leases.iter().rev().map(Lease::tree)).filter(|_| overlay).collect();
        let (upper, work, unknown_variables) = (home.join(DATA), home.join(WORK), head.unknown.clone());
        let prepared = Prepared { way: self.way, lower, upper, work, unknown_variables, replaced: plan.replaced, outdated: plan.outdated };
        let fits = prepared.volume_options().is_none_or(|options| options.len() <= OPTIONS_MAX);
        if fits { Ok(prepared) } else { Err(LayersError::TooLong) }
    }

    fn carry_out(self) -> Result<Prepared, LayersError> {
        let home = &self.request.home;
        let failed = LayersError::disk("make a server's folder out of layers");
        fs::create_dir_all(home.join(WORK)).map_err(&failed)?;
        if !home.join(DATA).exists() {
            fs::create_dir(home.join(DATA)).map_err(&failed)?;
            let (uid, gid) = self.request.owner.unzip();
            std::os::unix::fs::chown(home.join(DATA), uid, gid).map_err(&failed)?;
        }
        let used = self.used();
        if let Some(head) = &self.head
            && (head.way, &head.layers, head.inputs) == (self.way, &used, self.inputs)
            && head.rendered.as_ref().is_none_or(|name| home.join(name).exists())
        {
            return self.prepared(head, Plan::default());
        }
        let view = self.view()?;
        let plan = self.plan(&view)?;
        let trees: Vec<PathBuf> = self.leases.iter().map(Lease::tree).collect();
        let sources = Sources { way: self.way, merged: &view.merged, trees: &trees, rendered: &view.rendered, owner: self.request.owner };
        sources.carry_out(&home.join(DATA), &plan.steps).map_err(&failed)?;
        // An overlay without layers is still one: what the server removed from layers that it once had stays removed.
        let needed = self.way == Way::Overlay && (!view.rendered.is_empty() || (trees.is_empty() && self.head.is_some()));
        let rendered = if needed { Some(sources.make_rendered(home).map_err(&failed)?) } else { None };
        let head = Head { way: self.way, layers: used, rendered, inputs: self.inputs, unknown: view.unknown };
        let copied = if self.way == Way::Overlay { plan.copied(view.before.copied) } else { BTreeSet::new() };
        let prepared = self.prepared(&head, plan)?;
        let before = self.head.as_ref().and_then(|head| head.rendered.as_deref());
        retire_rendered(home, &[before, head.rendered.as_deref()]).map_err(&failed)?;
        // A file that the server changed and that stays keeps the content that it was placed with.
        let mut rendered = view.sums;
        for path in &prepared.outdated {
            rendered.extend(view.before.rendered.get(path).map(|sum| (path.clone(), *sum)));
        }
        let provenance = Provenance { merged: view.merged, rendered, copied };
        write_both(home, &head, &provenance).map_err(failed)?;
        Ok(prepared)
    }
}
