//! Mail between shards: a mailbox for each, that all the others put things into.
//!
//! What the mail means is the business of whoever takes it. Putting and taking never wait for more than a few stores
//! under a lock, and mail from one shard to another keeps its order. A shard that has nothing to do leaves its waker in
//! its mailbox; the first who puts something in takes the waker out and wakes it, so a shard is woken once for each time
//! that it sleeps, and a busy one not at all. No wake-up is lost: a mailbox is looked into and the waker laid down under
//! the same lock under which mail is put in, so mail that comes is either seen or finds the waker.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use pulse_core::PeerId;

/// Above this many bytes of parcels from one shard in one mailbox, that shard is told to keep further ones to itself
/// until half of it was taken.
const FULL: usize = 1 << 20;

/// What a shard finds in its mailbox.
#[derive(Debug)]
pub(super) enum Mail {
    /// From router to router.
    Parcel(Vec<u8>),
    /// The sender's mailbox has room for parcels again.
    Room,
    /// A socket that the sender has accepted, for this shard to serve.
    Socket(OwnedFd),
    /// Say so when you have done everything that I sent before this.
    Ask,
    /// The answer to `Ask`.
    Done,
    /// The sender's clients are told to go: it wants nothing more of anybody.
    Left,
    /// The sender has ended: nothing more comes from it, and nothing reaches it.
    Gone,
}

/// Whether a mailbox takes more parcels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Posted {
    /// It does.
    Roomy,
    /// It does not: `Room` comes when it does again.
    Full,
    /// Nobody is there.
    Gone,
}

/// A shard's own mailbox and its way to all the others. Dropped, it tells them that the shard is gone.
#[derive(Debug)]
pub(crate) struct Post {
    own: PeerId,
    office: Arc<[Mailbox]>,
    /// Bytes of parcels, by sender, that were done with since this was last told.
    done: Box<[usize]>,
    any_done: bool,
    /// Who has room again.
    relieved: Vec<PeerId>,
}

/// Aligned so that the mailboxes of two shards share no pair of cache lines.
#[derive(Debug)]
#[repr(align(128))]
struct Mailbox {
    inner: Mutex<Inner>,
    /// Sockets that its shard serves, or that are on their way there.
    sockets: AtomicUsize,
}

#[derive(Debug)]
struct Inner {
    mail: VecDeque<(PeerId, Mail)>,
    /// Of a shard that sleeps.
    waker: Option<Waker>,
    waiting: Box<[Waiting]>,
    closed: bool,
}

/// What one sender has in a mailbox.
#[derive(Clone, Debug, Default)]
struct Waiting {
    /// Of parcels that the receiver is not done with.
    bytes: usize,
    /// The sender waits for `Room`.
    full: bool,
}

impl Post {
    /// One for each of `count` shards.
    pub(crate) fn new(count: u16) -> Vec<Self> {
        let mailbox = |_| Mailbox {
            inner: Mutex::new(Inner {
                mail: VecDeque::new(),
                waker: None,
                waiting: vec![Waiting::default(); count.into()].into(),
                closed: false,
            }),
            sockets: AtomicUsize::new(0),
        };
        let office: Arc<[Mailbox]> = (0..count).map(mailbox).collect();
        let post = |own| Self {
            own: PeerId(own),
            office: Arc::clone(&office),
            done: vec![0; count.into()].into(),
            any_done: false,
            relieved: Vec::new(),
        };
        (0..count).map(post).collect()
    }

    /// All other shards.
    pub(super) fn others(&self) -> impl Iterator<Item = PeerId> + use<> {
        let (own, count) = (self.own, self.office.len() as u16);
        (0..count).map(PeerId).filter(move |&peer| peer != own)
    }

    /// Puts something into the mailbox of `to`.
    pub(super) fn send(&self, to: PeerId, mail: Mail) -> Posted {
        let mut inner = self.office[usize::from(to.0)].lock();
        if inner.closed {
            return Posted::Gone;
        }
        let waiting = &mut inner.waiting[usize::from(self.own.0)];
        if let Mail::Parcel(parcel) = &mail {
            waiting.bytes += parcel.len();
            waiting.full |= waiting.bytes > FULL;
        }
        let posted = if waiting.full { Posted::Full } else { Posted::Roomy };
        inner.mail.push_back((self.own, mail));
        let waker = inner.waker.take();
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
        posted
    }

    /// A parcel of `len` bytes was dealt with.
    pub(super) fn done(&mut self, from: PeerId, len: usize) {
        self.done[usize::from(from.0)] += len;
        self.any_done = true;
    }

    /// Takes everything out of the mailbox if `mail` is empty. Where nothing is there, leaves the waker that is given, for
    /// whoever puts something in.
    pub(super) fn collect(&mut self, mail: &mut VecDeque<(PeerId, Mail)>, waker: Option<&Waker>) {
        let mut inner = self.office[usize::from(self.own.0)].lock();
        if std::mem::take(&mut self.any_done) {
            for (from, waiting) in inner.waiting.iter_mut().enumerate() {
                waiting.bytes -= std::mem::take(&mut self.done[from]);
                if waiting.full && waiting.bytes <= FULL / 2 {
                    waiting.full = false;
                    self.relieved.push(PeerId(from as u16));
                }
            }
        }
        if mail.is_empty() {
            std::mem::swap(mail, &mut inner.mail);
        }
        inner.waker = waker.filter(|_| mail.is_empty()).cloned();
        drop(inner);
        while let Some(peer) = self.relieved.pop() {
            // If it is gone it wants no room.
            self.send(peer, Mail::Room);
        }
    }

    /// Counts a socket for the shard that serves the fewest, this one among equals, and names that shard.
    pub(super) fn assign(&self) -> PeerId {
        let own = usize::from(self.own.0);
        let load = |at: usize| (self.office[at].sockets.load(Relaxed), at != own);
        let to = (0..self.office.len()).min_by_key(|&at| load(at)).unwrap_or(own);
        self.office[to].sockets.fetch_add(1, Relaxed);
        PeerId(to as u16)
    }

    /// Counts a socket for this shard that was not assigned to it.
    pub(super) fn keep_socket(&self) {
        self.office[usize::from(self.own.0)].sockets.fetch_add(1, Relaxed);
    }

    /// This shard has one socket less.
    pub(super) fn drop_socket(&self) {
        self.office[usize::from(self.own.0)].sockets.fetch_sub(1, Relaxed);
    }

    /// This shard's number among all.
    pub(super) fn own(&self) -> PeerId {
        self.own
    }
}

impl Drop for Post {
    fn drop(&mut self) {
        let mut inner = self.office[usize::from(self.own.0)].lock();
        inner.closed = true;
        let left = std::mem::take(&mut inner.mail);
        drop(inner);
        // Sockets among it are closed by this, outside the lock.
        drop(left);
        for peer in self.others() {
            self.send(peer, Mail::Gone);
        }
    }
}

impl Mailbox {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing under the lock panics halfway through a change.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::task::Wake;
    use std::thread::{self, Thread};
    use std::time::Duration;

    use super::*;

    /// Longer than anything takes: a wake-up that does not come in this time is lost.
    const PATIENCE: Duration = Duration::from_secs(30);

    struct Sleeper {
        thread: Thread,
        wakes: AtomicU64,
    }

    impl Wake for Sleeper {
        fn wake(self: Arc<Self>) {
            self.wakes.fetch_add(1, Relaxed);
            self.thread.unpark();
        }
    }

    fn sleeper() -> (Arc<Sleeper>, Waker) {
        let sleeper = Arc::new(Sleeper { thread: thread::current(), wakes: AtomicU64::new(0) });
        (Arc::clone(&sleeper), Waker::from(sleeper))
    }

    fn pair() -> (Post, Post) {
        let mut posts = Post::new(2).into_iter();
        (posts.next().expect("there are two"), posts.next().expect("there are two"))
    }

    fn parcel(len: usize) -> Mail {
        Mail::Parcel(vec![0; len])
    }

    /// Deals with all that is there; returns whom it was from, and what it was.
    fn take(post: &mut Post, waker: Option<&Waker>) -> Vec<String> {
        let mut mail = VecDeque::new();
        post.collect(&mut mail, waker);
        let seen = mail.iter().map(|(from, mail)| match mail {
            Mail::Parcel(parcel) => {
                let len = parcel.len();
                (*from, len, format!("{len} from {}", from.0))
            }
            other => (*from, 0, format!("{other:?} from {}", from.0)),
        });
        let seen: Vec<(PeerId, usize, String)> = seen.collect();
        seen.into_iter()
            .map(|(from, len, text)| {
                post.done(from, len);
                text
            })
            .collect()
    }

    #[test]
    fn mail_of_one_shard_keeps_its_order_and_a_sleeper_is_woken_once() {
        let (mut a, b) = pair();
        let (sleeper, waker) = sleeper();
        assert!(take(&mut a, Some(&waker)).is_empty());
        for len in 1..=3 {
            assert_eq!(b.send(PeerId(0), parcel(len)), Posted::Roomy);
        }
        b.send(PeerId(0), Mail::Ask);
        assert_eq!(sleeper.wakes.load(Relaxed), 1);
        assert_eq!(take(&mut a, None), ["1 from 1", "2 from 1", "3 from 1", "Ask from 1"]);
        b.send(PeerId(0), Mail::Left);
        assert_eq!(sleeper.wakes.load(Relaxed), 1, "it does not sleep");
        assert_eq!(take(&mut a, Some(&waker)), ["Left from 1"]);
        b.send(PeerId(0), Mail::Left);
        assert_eq!(sleeper.wakes.load(Relaxed), 1, "it had mail, so it did not go to sleep");
    }

    #[test]
    fn mail_that_waits_is_left_until_the_earlier_one_is_dealt_with() {
        let (mut a, b) = pair();
        let mut mail = VecDeque::new();
        b.send(PeerId(0), parcel(1));
        a.collect(&mut mail, None);
        b.send(PeerId(0), parcel(2));
        let (sleeper, waker) = sleeper();
        a.collect(&mut mail, Some(&waker));
        assert_eq!(mail.len(), 1);
        b.send(PeerId(0), parcel(3));
        assert_eq!(sleeper.wakes.load(Relaxed), 0);
        mail.clear();
        a.collect(&mut mail, None);
        assert_eq!(mail.len(), 2);
    }

    #[test]
    fn a_full_mailbox_tells_when_half_of_it_was_taken() {
        let (mut a, mut b) = pair();
        assert_eq!(b.send(PeerId(0), parcel(FULL)), Posted::Roomy);
        assert_eq!(b.send(PeerId(0), parcel(1)), Posted::Full);
        assert_eq!(b.send(PeerId(0), Mail::Ask), Posted::Full);
        let mut mail = VecDeque::new();
        a.collect(&mut mail, None);
        a.done(PeerId(1), FULL / 2);
        a.collect(&mut mail, None);
        assert!(take(&mut b, None).is_empty(), "one byte too many is there");
        a.done(PeerId(1), 1);
        a.collect(&mut mail, None);
        assert_eq!(take(&mut b, None), ["Room from 0"]);
        assert_eq!(b.send(PeerId(0), parcel(FULL / 2)), Posted::Roomy);
        a.done(PeerId(1), FULL);
        a.collect(&mut mail, None);
        assert!(take(&mut b, None).is_empty(), "it was not full");
    }

    #[test]
    fn a_shard_that_ends_is_missed_by_all_others() {
        let mut posts = Post::new(3);
        let gone = posts.remove(1);
        assert_eq!(posts[0].send(PeerId(1), parcel(1)), Posted::Roomy);
        gone.send(PeerId(2), parcel(7));
        drop(gone);
        assert_eq!(posts[0].send(PeerId(1), parcel(1)), Posted::Gone);
        assert_eq!(take(&mut posts[0], None), ["Gone from 1"]);
        assert_eq!(take(&mut posts[1], None), ["7 from 1", "Gone from 1"]);
    }

    #[test]
    fn sockets_go_to_the_shard_with_the_fewest() {
        let posts = Post::new(3);
        let whom = |by: usize| posts[by].assign().0;
        assert_eq!([whom(2), whom(2), whom(2), whom(0)], [2, 0, 1, 0]);
        posts[2].keep_socket();
        assert_eq!(whom(2), 1);
        posts[0].drop_socket();
        assert_eq!(whom(2), 0);
    }

    /// Two threads send each other so many parcels that both sleep and are full again and again. A lost wake-up or a lost
    /// `Room` stops them for ever.
    #[test]
    fn no_wake_up_is_lost() {
        const PARCELS: usize = 20_000;
        let (a, b) = pair();
        let run = |mut post: Post, len: usize| {
            let (_, waker) = sleeper();
            let (mut sent, mut taken, mut full) = (0, 0, false);
            let mut mail = VecDeque::new();
            let peer = PeerId(1 - post.own().0);
            while sent < PARCELS || taken < PARCELS {
                // Now and then a few in a row, so that either side gets ahead.
                for _ in 0..1 + sent % 7 {
                    if sent < PARCELS && !full {
                        full = post.send(peer, parcel(len)) == Posted::Full;
                        sent += 1;
                    }
                }
                let idle = full || (sent == PARCELS && taken < PARCELS);
                post.collect(&mut mail, idle.then_some(&waker));
                if idle && mail.is_empty() {
                    let start = std::time::Instant::now();
                    thread::park_timeout(PATIENCE);
                    assert!(start.elapsed() < PATIENCE, "nobody woke shard {}", post.own().0);
                }
                while let Some((from, mail)) = mail.pop_front() {
                    match mail {
                        Mail::Parcel(parcel) => {
                            post.done(from, parcel.len());
                            taken += 1;
                        }
                        Mail::Room => full = false,
                        other => panic!("nobody sent {other:?}"),
                    }
                }
            }
            // Tells the peer of the last room.
            post.collect(&mut mail, None);
            post
        };
        let (a, b) = thread::scope(|scope| {
            let a = scope.spawn(|| run(a, 10_000));
            let b = scope.spawn(|| run(b, 100_000));
            (a.join().expect("it ends"), b.join().expect("it ends"))
        });
        drop((a, b));
    }
}
