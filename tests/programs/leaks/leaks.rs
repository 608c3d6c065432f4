// Five leaks among things that only look like leaks, in Rust: see scenario.json.
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

const SITES: [&str; 11] = [
    "note", "rule", "peer", "entry", "history", "table", "cached", "job", "chunk", "request", "buffer",
];
const NOTE: usize = 0;
const RULE: usize = 1;
const PEER: usize = 2;
const ENTRY: usize = 3;
const HISTORY: usize = 4;
const TABLE: usize = 5;
const CACHED: usize = 6;
const JOB: usize = 7;
const CHUNK: usize = 8;
const REQUEST: usize = 9;
const BUFFER: usize = 10;
const TICK: f64 = 0.005; // seconds

#[derive(Clone, Copy, Default)]
struct Site {
    size: f64, // mean bytes of a block
    rate: f64, // bytes a second
    live: i64, // bytes
    line: u32,
}

struct World {
    sites: [Site; 11],
    dice: u64,
    tick: usize,
    ticks: usize,
}

impl World {
    fn toss(&mut self) -> f64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        (self.dice >> 11) as f64 / (1u64 << 53) as f64
    }

    fn some_size(&mut self, site: usize) -> usize {
        (self.sites[site].size * (0.5 + self.toss())) as usize
    }

    fn due(&mut self, site: usize, factor: f64) -> usize {
        (self.sites[site].rate * TICK * factor / self.sites[site].size + self.toss()) as usize
    }

    fn came(&mut self, site: usize, line: u32, bytes: usize) {
        self.sites[site].line = line;
        self.sites[site].live += bytes as i64;
    }

    fn went(&mut self, site: usize, bytes: usize) {
        self.sites[site].live -= bytes as i64;
    }

    fn slot(&mut self, count: usize) -> usize {
        (self.toss() * count as f64) as usize
    }
}

// The request is made on the line that this stands on.
macro_rules! at {
    ($world:expr, $site:expr, $bytes:expr, $request:expr) => {{
        $world.came($site, line!(), $bytes);
        $request
    }};
}

// Leak, steady: it is said, and forgotten.
#[inline(never)]
fn note_request(world: &mut World) {
    let size = world.some_size(NOTE);
    let note = at!(world, NOTE, size, vec![1u8; size]);
    std::mem::forget(note);
}

struct Rule {
    next: RefCell<Option<Rc<Rule>>>,
    _text: Vec<u8>,
}

// Leak, in bursts: the last of the old rules points at the first, so that none of them ever goes.
#[inline(never)]
fn reload_rules(world: &mut World) {
    let last = Rc::new(Rule { next: RefCell::new(None), _text: Vec::new() });
    let (mut rules, mut bytes) = (last.clone(), 0);
    while (bytes as f64) < world.sites[RULE].rate * 0.6 {
        let size = world.some_size(RULE);
        let _text = at!(world, RULE, size, vec![0u8; size]);
        rules = Rc::new(Rule { next: RefCell::new(Some(rules)), _text });
        bytes += size;
    }
    *last.next.borrow_mut() = Some(rules);
}

// Leak, one a connection: the peer's name. The buffer goes with its session.
#[inline(never)]
fn open_session(world: &mut World, sessions: &mut HashMap<usize, Vec<Vec<u8>>>) {
    let size = world.some_size(PEER);
    let bytes = world.some_size(BUFFER);
    let peer = at!(world, PEER, size, vec![b'p'; size]);
    let buffer = at!(world, BUFFER, bytes, vec![b'b'; bytes]);
    Box::leak(peer.into_boxed_slice());
    let until = world.tick + ((0.05 + 0.45 * world.toss()) / TICK) as usize;
    sessions.entry(until).or_default().push(buffer);
}

// Leak: a cache that nobody bounds.
#[inline(never)]
fn remember(world: &mut World, cache: &mut HashMap<u64, Vec<u8>>) {
    let size = world.some_size(ENTRY);
    let value = at!(world, ENTRY, size, vec![b'e'; size]);
    cache.insert(world.dice, value);
}

// Leak: what is appended to, for ever.
#[inline(never)]
fn extend_history(world: &mut World, histories: &mut [Vec<u8>]) {
    let slot = world.slot(histories.len());
    let history = &mut histories[slot];
    let more = world.some_size(HISTORY);
    at!(world, HISTORY, more, history.reserve_exact(more));
    history.resize(history.len() + more, b'h');
}

// None: made at the start, and kept.
#[inline(never)]
fn load_table(world: &mut World, tables: &mut Vec<Vec<u8>>) {
    let size = world.some_size(TABLE);
    let table = at!(world, TABLE, size, vec![b't'; size]);
    tables.push(table);
}

// None: a cache that is full after a while, the oldest goes.
#[inline(never)]
fn put_in_cache(world: &mut World, cache: &mut VecDeque<Vec<u8>>) {
    let size = world.some_size(CACHED);
    let value = at!(world, CACHED, size, vec![b'c'; size]);
    cache.push_back(value);
    let full = world.sites[CACHED].rate * 0.4 * world.ticks as f64 * TICK / world.sites[CACHED].size;
    if cache.len() as f64 >= full {
        world.went(CACHED, cache.pop_front().unwrap().len());
    }
}

// None: jobs that take a second, more or less.
#[inline(never)]
fn start_job(world: &mut World, jobs: &mut [Vec<u8>]) {
    let slot = world.slot(jobs.len());
    let size = world.some_size(JOB);
    world.went(JOB, jobs[slot].len());
    jobs[slot] = at!(world, JOB, size, vec![b'j'; size]);
}

// None: a pool that doubles while the load grows.
#[inline(never)]
fn grow_pool(world: &mut World, pool: &mut Vec<Vec<u8>>) {
    let capacity: usize = pool.iter().map(Vec::len).sum();
    let used = world.sites[CHUNK].rate * world.tick as f64 * TICK;
    if world.tick as f64 > 0.4 * world.ticks as f64 || used <= capacity as f64 {
        return;
    }
    let size = (world.sites[CHUNK].size as usize) << pool.len();
    let chunk = at!(world, CHUNK, size, vec![b'p'; size]);
    pool.push(chunk);
}

// None: buffers that live for a tick.
#[inline(never)]
fn serve(world: &mut World, requests: &mut Vec<Vec<u8>>) {
    for request in requests.drain(..) {
        world.went(REQUEST, request.len());
    }
    for _ in 0..world.due(REQUEST, 1.0) {
        let size = world.some_size(REQUEST);
        let request = at!(world, REQUEST, size, vec![b'r'; size]);
        requests.push(request);
    }
}

fn main() {
    let arguments: Vec<f64> = std::env::args().skip(1).map(|word| word.parse().unwrap()).collect();
    let mut world = World {
        sites: [Site::default(); 11],
        dice: (arguments[0] as u64).wrapping_mul(0x9e3779b97f4a7c15) + 1,
        tick: 0,
        ticks: (arguments[1] / TICK) as usize,
    };
    for (site, numbers) in world.sites.iter_mut().zip(arguments[2..].chunks(2)) {
        (site.size, site.rate) = (numbers[0], numbers[1]);
    }
    let mut sessions = HashMap::new();
    let mut cache = HashMap::new();
    let mut histories = vec![Vec::new(); 100];
    let mut jobs = vec![Vec::new(); (world.sites[JOB].rate / world.sites[JOB].size) as usize];
    let (mut tables, mut bounded, mut pool, mut requests) = (Vec::new(), VecDeque::new(), Vec::new(), Vec::new());
    let (started, mut burst) = (Instant::now(), 0);
    while world.tick < world.ticks {
        serve(&mut world, &mut requests);
        (0..world.due(NOTE, 1.0)).for_each(|_| note_request(&mut world));
        if world.tick >= burst {
            reload_rules(&mut world);
            burst = world.tick + ((0.3 + 0.6 * world.toss()) / TICK) as usize;
        }
        (0..world.due(PEER, 1.0)).for_each(|_| open_session(&mut world, &mut sessions));
        for buffer in sessions.remove(&world.tick).unwrap_or_default() {
            world.went(BUFFER, buffer.len());
        }
        (0..world.due(ENTRY, 1.0)).for_each(|_| remember(&mut world, &mut cache));
        (0..world.due(HISTORY, 1.0)).for_each(|_| extend_history(&mut world, &mut histories));
        let loading = if world.tick * 10 < world.ticks { world.due(TABLE, 10.0) } else { 0 };
        (0..loading).for_each(|_| load_table(&mut world, &mut tables));
        (0..world.due(CACHED, 1.0)).for_each(|_| put_in_cache(&mut world, &mut bounded));
        (0..world.due(JOB, 1.0)).for_each(|_| start_job(&mut world, &mut jobs));
        grow_pool(&mut world, &mut pool);
        world.tick += 1;
        let next = Duration::from_secs_f64(world.tick as f64 * TICK);
        std::thread::sleep(next.saturating_sub(started.elapsed()));
    }
    let seconds = started.elapsed().as_secs_f64();
    for (name, site) in SITES.iter().zip(world.sites) {
        println!(
            "{{\"site\": \"{}\", \"function\": \"\", \"line\": {}, \"seconds\": {:.6}, \"live\": {}}}",
            name, site.line, seconds, site.live
        );
    }
    std::process::exit(0);
}
