//! Senders and receivers: datagrams at a pace, what comes of them, and round trips.

use std::{
    fmt,
    io::{IoSliceMut, Result},
    net::UdpSocket,
    os::fd::AsRawFd as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::sync_channel,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt,
};

use crate::support::namespaces::Namespace;

/// Bytes of IPv4 and UDP headers.
const HEADERS: u64 = 28;
/// Datagrams that are sent in a row when the sender is behind.
const BATCH: u64 = 32;
/// Priority of threads that send and receive: that of workers.
const BEFORE: i32 = 1;
/// Time between round trips, and how long an answer may take.
const APART: Duration = Duration::from_millis(1);
const PATIENCE: Duration = Duration::from_millis(200);
/// Room for datagrams that a receiver has not taken yet.
const ROOM: usize = 8 << 20;

/// What has come.
pub(crate) struct Came {
    pub(crate) packets: u64,
    pub(crate) span: Duration,
    /// Datagrams that came behind a later one.
    pub(crate) overtaken: u64,
    pub(crate) marked: u64,
    /// Numbers of the first datagram that was marked, and of the first that was missing.
    pub(crate) first_mark: Option<u64>,
    pub(crate) first_loss: Option<u64>,
}

/// Lets time pass: that is what a pace is made of.
#[expect(clippy::disallowed_methods, reason = "a pace is made of time")]
pub(crate) fn pause(time: Duration) {
    thread::sleep(time);
}

/// Runs something on a thread in a namespace.
fn within<T: Send + 'static>(
    place: &Namespace,
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    let inside = std::mem::ManuallyDrop::new(Namespace(place.0.clone()));
    thread::spawn(move || {
        inside.enter();
        work()
    })
}

/// Gives the calling thread a real-time priority, so that what else the host does costs it little; the
/// kernel leaves the rest 5 % (sched(7)).
fn go_before() {
    let parameter = libc::sched_param { sched_priority: BEFORE };
    // SAFETY: the parameter is read during the call only.
    let failed = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameter) };
    assert_eq!(failed, 0, "root may raise a thread's priority");
}

/// Counts datagrams for a while, from one on that comes behind so many others.
pub(crate) fn sink(place: &Namespace, span: Duration, behind: u64) -> JoinHandle<Came> {
    let (ready, listening) = sync_channel(1);
    let receiver = within(place, move || {
        go_before();
        let socket = UdpSocket::bind("0.0.0.0:8000").expect("the port");
        setsockopt(&socket, sockopt::RcvBufForce, &ROOM).expect("root may");
        setsockopt(&socket, sockopt::IpRecvTos, &true).expect("the kernel tells it");
        socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        ready.send(()).expect("the measurement waits");
        let mut last = 0;
        for _ in 0..=behind {
            (last, _) = receive(&socket).expect("datagrams come");
        }
        let start = Instant::now();
        let mut came = Came {
            packets: 0,
            span: Duration::ZERO,
            overtaken: 0,
            marked: 0,
            first_mark: None,
            first_loss: None,
        };
        while let Ok((number, class)) = receive(&socket) {
            came.packets += 1;
            if class & 3 == 3 {
                came.marked += 1;
                came.first_mark.get_or_insert(number);
            }
            if number < last {
                came.overtaken += 1;
            } else {
                if number > last + 1 {
                    came.first_loss.get_or_insert(last + 1);
                }
                last = number;
            }
            came.span = start.elapsed();
            if came.span >= span {
                break;
            }
        }
        came
    });
    listening.recv_timeout(Duration::from_secs(5)).expect("it listens");
    receiver
}

/// Receives a numbered datagram; returns its number and traffic class.
fn receive(socket: &UdpSocket) -> Result<(u64, u8)> {
    let mut buffer = [0; 2_048];
    let mut parts = [IoSliceMut::new(&mut buffer)];
    let mut control = nix::cmsg_space!(u8);
    let told = recvmsg::<SockaddrStorage>(
        socket.as_raw_fd(),
        &mut parts,
        Some(&mut control),
        MsgFlags::empty(),
    )?;
    let class = told.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::Ipv4Tos(class) => Some(class),
        _ => None,
    });
    let number = u64::from_be_bytes(*buffer.first_chunk().expect("a number"));
    Ok((number, class.unwrap_or(0)))
}

/// A sender of numbered datagrams of one flow, whose sender understands marks.
pub(crate) struct Sending {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Sending {
    /// Begins to send packets of so many bytes, so many bytes a second.
    pub(crate) fn start(place: &Namespace, port: u16, packet: u64, bytes_per_s: f64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let thread = within(place, move || {
            go_before();
            let socket = UdpSocket::bind("0.0.0.0:0").expect("a port");
            // ECT(0) (RFC 3168).
            setsockopt(&socket, sockopt::Ipv4Tos, &2).expect("the kernel takes it");
            socket.connect(("10.1.0.1", port)).expect("a way");
            let mut datagram = vec![7; (packet - HEADERS) as usize];
            let (start, mut sent) = (Instant::now(), 0u64);
            while !told.load(Ordering::Acquire) {
                let due = start.elapsed().as_secs_f64() * bytes_per_s / packet as f64;
                if (sent as f64) < due {
                    for _ in 0..BATCH.min((due - sent as f64).ceil() as u64) {
                        datagram[..8].copy_from_slice(&sent.to_be_bytes());
                        // The device may have no room.
                        let _lost = socket.send(&datagram);
                        sent += 1;
                    }
                } else {
                    let pause = (sent as f64 - due).max(0.1) * packet as f64 / bytes_per_s;
                    self::pause(Duration::from_secs_f64(pause.min(0.01)));
                }
            }
            sent
        });
        Self { stop, thread }
    }

    /// Ends it; returns how many datagrams were sent.
    pub(crate) fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Release);
        self.thread.join().expect("it ends")
    }
}

/// A server that sends datagrams back.
pub(crate) struct Echo {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Echo {
    pub(crate) fn stop(self) {
        self.stop.store(true, Ordering::Release);
        self.thread.join().expect("it ends");
    }
}

/// Starts such a server.
pub(crate) fn echo(place: &Namespace) -> Echo {
    let stop = Arc::new(AtomicBool::new(false));
    let (told, (ready, listening)) = (stop.clone(), sync_channel(1));
    let thread = within(place, move || {
        go_before();
        let socket = UdpSocket::bind("0.0.0.0:8001").expect("the port");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        ready.send(()).expect("the measurement waits");
        let mut buffer = [0; 2_048];
        while !told.load(Ordering::Acquire) {
            if let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let _lost = socket.send_to(&buffer[..length], from);
            }
        }
    });
    listening.recv_timeout(Duration::from_secs(5)).expect("it listens");
    Echo { stop, thread }
}

/// Round trips.
pub(crate) struct RoundTrips {
    /// In order of their length.
    pub(crate) times: Vec<Duration>,
    pub(crate) lost: u64,
}

impl RoundTrips {
    /// Returns what a share of them, in thousandths, took at most.
    pub(crate) fn quantile(&self, thousandths: usize) -> Duration {
        let rank = (self.times.len() * thousandths).div_ceil(1_000).max(1);
        self.times.get(rank - 1).copied().unwrap_or(Duration::MAX)
    }
}

impl fmt::Display for RoundTrips {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} round trips, p50 {:.1?}, p99 {:.1?}, p99.9 {:.1?}, {} lost",
            self.times.len(),
            self.quantile(500),
            self.quantile(990),
            self.quantile(999),
            self.lost
        )
    }
}

/// Times round trips for a while.
pub(crate) fn round_trips(place: &Namespace, port: u16, span: Duration) -> RoundTrips {
    let timed = within(place, move || {
        go_before();
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a port");
        socket.connect(("10.1.0.1", port)).expect("a way");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let (start, mut buffer) = (Instant::now(), [0; 64]);
        let mut trips = RoundTrips { times: Vec::new(), lost: 0 };
        for number in 0u64.. {
            let at = start + APART * number as u32;
            if at > start + span {
                break;
            }
            pause(at.saturating_duration_since(Instant::now()));
            let sent = Instant::now();
            let _lost = socket.send(&number.to_be_bytes());
            loop {
                match socket.recv(&mut buffer) {
                    Ok(8) if buffer[..8] == number.to_be_bytes() => {
                        trips.times.push(sent.elapsed());
                        break;
                    }
                    // One that was taken for lost.
                    Ok(_) => {}
                    Err(_) => {
                        trips.lost += 1;
                        break;
                    }
                }
            }
        }
        trips.times.sort_unstable();
        trips
    });
    timed.join().expect("it ends")
}
