//! The data threads allocate nothing while packets pass: everything they need they have from the
//! start, or keep from the first packets on.
//!
//! An allocator that counts what threads named "hipgw-data*" ask for proves it, with engines that
//! talk over loopback as in `tests/engine`. What a cipher or the standard library allocates counts
//! as well. The first place found is printed.

#[path = "engine/node.rs"]
#[allow(dead_code)]
mod node;

#[path = "no_allocation/mobile_router.rs"]
mod mobile_router;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    backtrace::Backtrace,
    cell::Cell,
    os::unix::net::UnixDatagram,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use esp_core::{
    beet::{Hit, Lsi},
    engine::PacketForm,
    l2::framing::Framing,
    layout::Format,
    offload::{GsoKind, VnetHeader, VNET_HEADER_LEN},
    packet::{
        checksum,
        ip::{Header, TCP_ACK, V4, V6},
    },
    stats::Counter,
    suite::Suite,
};
use node::{connect, hit, lsi, Node, Options, Sa};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Whether allocations of data threads count.
static ARMED: AtomicBool = AtomicBool::new(false);
static COUNT: AtomicU64 = AtomicU64::new(0);

const PREFIX: &[u8] = b"hipgw-data";

thread_local! {
    static IS_DATA_THREAD: Cell<bool> = const { Cell::new(false) };
    static IN_REPORT: Cell<bool> = const { Cell::new(false) };
}

struct Counting;

// SAFETY: every call is handed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: what holds for this call holds for that one.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: what holds for this call holds for that one; the pointer came from there.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: what holds for this call holds for that one.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size);
        // SAFETY: what holds for this call holds for that one; the pointer came from there.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

fn note(size: usize) {
    if !ARMED.load(Ordering::Relaxed) || !is_data_thread() || IN_REPORT.get() {
        return;
    }
    if COUNT.fetch_add(1, Ordering::Relaxed) == 0 {
        IN_REPORT.set(true);
        eprintln!(
            "a data thread asks for {size} octets:\n{}",
            Backtrace::force_capture()
        );
        IN_REPORT.set(false);
    }
}

/// By the name that the system knows; what the standard library knows may not be looked at here.
fn is_data_thread() -> bool {
    if IS_DATA_THREAD.get() {
        return true;
    }
    let mut name = [0u8; 16];
    // SAFETY: the call writes at most 16 octets, which is the size of the array.
    let result = unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
    let found = result == 0 && name.starts_with(PREFIX);
    // A thread gets its name after it has begun, so only a yes is remembered.
    IS_DATA_THREAD.set(found);
    found
}

/// What the kernel keeps for a socket at least.
const MAX_IN_FLIGHT: u64 = 64;
/// What arrives each way before counting begins, and while it counts.
const WARM_UP: u64 = 4_000;
const COUNTED: u64 = 20_000;
const PATIENCE: Duration = Duration::from_secs(60);

/// One way that packets go: into one device and out of others.
struct Stream<'a> {
    from: &'a UnixDatagram,
    to: &'a UnixDatagram,
    /// Sent again and again.
    packets: Vec<Vec<u8>>,
}

/// Packets that were sent and not received yet.
fn in_flight(nodes: &[&Node]) -> u64 {
    let sum = |counter| -> u64 { nodes.iter().map(|node| node.engine.counter(counter)).sum() };
    let received = sum(Counter::NetRxPackets);
    sum(Counter::NetTxPackets).saturating_sub(received)
}

/// Send along all streams at once until enough has come out of each, first unobserved, then with
/// the data threads' allocations counted.
fn assert_no_allocation(what: &str, nodes: &[&Node], streams: &[Stream<'_>]) {
    let stop = AtomicBool::new(false);
    let arrived: Vec<AtomicU64> = streams.iter().map(|_| AtomicU64::new(0)).collect();
    let enough = |count: u64| {
        let before: Vec<u64> = arrived.iter().map(|n| n.load(Ordering::Relaxed)).collect();
        let deadline = Instant::now() + PATIENCE;
        while arrived
            .iter()
            .zip(&before)
            .any(|(now, before)| now.load(Ordering::Relaxed) - before < count)
        {
            if Instant::now() > deadline {
                return false;
            }
            thread::sleep(Duration::from_millis(1));
        }
        true
    };
    let short = Some(Duration::from_millis(20));
    let (passed, count) = thread::scope(|scope| {
        for (stream, arrived) in streams.iter().zip(&arrived) {
            stream.from.set_write_timeout(short).unwrap();
            stream.to.set_read_timeout(short).unwrap();
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    for packet in &stream.packets {
                        // What is lost on the way makes payloads wait for their pieces, and those
                        // that wait have buffers: so nothing is.
                        while in_flight(nodes) > MAX_IN_FLIGHT && !stop.load(Ordering::Relaxed) {
                            thread::sleep(Duration::from_micros(20));
                        }
                        // A device that is full for a moment loses it, as a real one would.
                        let _ = stream.from.send(packet);
                    }
                }
            });
            scope.spawn(|| {
                let mut buffer = vec![0; 70_000];
                while !stop.load(Ordering::Relaxed) {
                    if stream.to.recv(&mut buffer).is_ok() {
                        arrived.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        let mut passed = enough(WARM_UP);
        COUNT.store(0, Ordering::Relaxed);
        ARMED.store(true, Ordering::SeqCst);
        passed &= enough(COUNTED);
        ARMED.store(false, Ordering::SeqCst);
        stop.store(true, Ordering::Relaxed);
        (passed, COUNT.load(Ordering::Relaxed))
    });
    let arrived: Vec<u64> = arrived.iter().map(|n| n.load(Ordering::Relaxed)).collect();
    assert!(passed, "{what}: only {arrived:?} packets arrived");
    assert_eq!(count, 0, "{what}: allocations on the data threads");
}

fn mac(number: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, number]
}

fn frame(to: [u8; 6], from: u8, ethertype: [u8; 2], payload: &[u8]) -> Vec<u8> {
    [&to[..], &mac(from), &ethertype, payload].concat()
}

fn plain_frames(to: [u8; 6], from: u8, lens: &[usize]) -> Vec<Vec<u8>> {
    let frame = |len: &usize| frame(to, from, [0x88, 0xb5], &vec![7; *len]);
    lens.iter().map(frame).collect()
}

/// An IP packet with its transport checksum finished; `transport` begins with the ports.
fn packet(names: ([u8; 16], [u8; 16]), v6: bool, protocol: u8, transport: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; 40];
    let payload_len = transport.len();
    let (source, destination): (Hit, Hit) = names;
    let v4 = |hit: Hit| -> Lsi { lsi(hit[15]) };
    let len = if v6 {
        V6 {
            traffic_class: 0,
            next_header: protocol,
            hop_limit: 64,
            source,
            destination,
            payload_len,
        }
        .emit(&mut packet)
    } else {
        V4 {
            traffic_class: 0,
            identification: 1,
            fragment: V4::DONT_FRAGMENT,
            hop_limit: 64,
            protocol,
            source: v4(source),
            destination: v4(destination),
            payload_len,
        }
        .emit(&mut packet, &[])
    };
    packet.truncate(len);
    packet.extend(transport);
    let offset = if protocol == 6 { 16 } else { 6 };
    let header = Header::parse(&packet).unwrap();
    let (source, destination) = header.addresses(&packet);
    let sum = checksum::pseudo_header(source, destination, protocol, payload_len);
    let sum = checksum::add(sum, transport);
    checksum::store_udp(&mut packet, len + offset, sum);
    packet
}

fn udp(payload_len: usize) -> Vec<u8> {
    let len = (8 + payload_len) as u16;
    let header = [
        1000u16.to_be_bytes(),
        2000u16.to_be_bytes(),
        len.to_be_bytes(),
        [0, 0],
    ];
    [header.concat(), vec![7; payload_len]].concat()
}

fn tcp(sequence: u32, payload_len: usize) -> Vec<u8> {
    let mut segment = vec![0; 20 + payload_len];
    segment[..4].copy_from_slice(&[0x03, 0xe8, 0x07, 0xd0]);
    segment[4..8].copy_from_slice(&sequence.to_be_bytes());
    segment[12..14].copy_from_slice(&[0x50, TCP_ACK]);
    segment
}

/// An IPv4 packet in two fragments.
fn fragments(whole: &[u8]) -> [Vec<u8>; 2] {
    let cut = 20 + (whole.len() - 20) / 2 / 8 * 8;
    let piece = |range: std::ops::Range<usize>, more: u16| {
        let mut piece = [&whole[..20], &whole[range.clone()]].concat();
        let len = piece.len() as u16;
        piece[2..4].copy_from_slice(&len.to_be_bytes());
        let field = more | ((range.start - 20) / 8) as u16;
        piece[6..8].copy_from_slice(&field.to_be_bytes());
        esp_core::packet::ip::store_v4_checksum(&mut piece[..20]);
        piece
    };
    [piece(20..cut, 0x2000), piece(cut..whole.len(), 0)]
}

fn with_vnet(vnet: VnetHeader, packet: &[u8]) -> Vec<u8> {
    [&vnet.emit()[..], packet].concat()
}

/// A super-packet of TCP or UDP whose IP header begins at `ip`.
fn super_packet(packet: &[u8], ip: usize, segment_size: u16) -> Vec<u8> {
    let header = Header::parse(&packet[ip..]).unwrap();
    let tcp = header.protocol == 6;
    let kind = match (tcp, header.len) {
        (true, 20) => GsoKind::TcpV4,
        (true, _) => GsoKind::TcpV6,
        _ => GsoKind::Udp,
    };
    let vnet = VnetHeader {
        needs_checksum: true,
        kind,
        header_len: (ip + header.len + if tcp { 20 } else { 8 }) as u16,
        segment_size,
        checksum_start: (ip + header.len) as u16,
        checksum_offset: if tcp { 16 } else { 6 },
    };
    with_vnet(vnet, packet)
}

fn pair(options: Options, suite: Suite) -> (Node, Node) {
    let (a, b) = (Node::with(1, options), Node::with(2, options));
    let sa = |spi| Sa {
        suite,
        ..Sa::new(spi)
    };
    connect(&a, &b, &sa(300), &sa(301));
    (a, b)
}

/// All in one test: the allocator counts for one scenario at a time.
#[test]
fn nothing_is_allocated_while_packets_pass() {
    assert_eq!(VNET_HEADER_LEN, 10);
    frames_and_fragments();
    host_traffic();
    super_packets();
    flooding();
    other_forms();
    batches_of_a_mobile_router();
}

fn batches_of_a_mobile_router() {
    let thread = thread::Builder::new().name("hipgw-data-router".into());
    let counting = |on: bool| {
        if on {
            COUNT.store(0, Ordering::Relaxed);
        }
        ARMED.store(on, Ordering::SeqCst);
    };
    thread
        .spawn(move || mobile_router::pass_batches(counting))
        .unwrap()
        .join()
        .unwrap();
    assert_eq!(
        COUNT.load(Ordering::Relaxed),
        0,
        "a mobile router's batches"
    );
}

/// Ciphers of HIPv1, and frames that nobody cuts before they are sealed.
fn other_forms() {
    let form = PacketForm {
        format: Format {
            esn: false,
            icv_len: None,
            null_iv: true,
            alignment: None,
        },
        framing: Framing::Ethernet,
        replay: true,
        ..PacketForm::default()
    };
    for suite in [Suite::TripleDesSha1, Suite::BlowfishSha1, Suite::NullMd5] {
        let options = Options {
            vnet_hdr: true,
            ..Options::default()
        };
        let (a, b) = (Node::with(1, options), Node::with(2, options));
        let sa = |spi| Sa {
            suite,
            form,
            ..Sa::new(spi)
        };
        connect(&a, &b, &sa(300), &sa(301));
        let frames = both_ways((&a.tap, &b.tap), |from, to| {
            let names = (hit(from), hit(to));
            let packet = packet(names, true, 17, &udp(6_000));
            let large = frame(mac(to), from, [0x86, 0xdd], &packet);
            let plain = plain_frames(mac(to), from, &[46, 1000, 1500]);
            let plain = plain
                .iter()
                .map(|frame| with_vnet(VnetHeader::default(), frame));
            plain.chain([super_packet(&large, 14, 1460)]).collect()
        });
        assert_no_allocation(suite.name(), &[&a, &b], &frames);
        assert_eq!(a.engine.counter(Counter::FragmentsSent), 0);
    }
}

fn both_ways<'a>(
    (a, b): (&'a UnixDatagram, &'a UnixDatagram),
    packets: impl Fn(u8, u8) -> Vec<Vec<u8>>,
) -> [Stream<'a>; 2] {
    [
        Stream {
            from: a,
            to: b,
            packets: packets(1, 2),
        },
        Stream {
            from: b,
            to: a,
            packets: packets(2, 1),
        },
    ]
}

fn frames_and_fragments() {
    for suite in [Suite::AesGcm16, Suite::Aes128CbcSha256] {
        let clamped = Options {
            mss_clamp: true,
            ..Options::default()
        };
        let (a, b) = pair(clamped, suite);
        let small_and_large = [0, 46, 300, 1000, 1400];
        let frames = both_ways((&a.tap, &b.tap), |from, to| {
            plain_frames(mac(to), from, &small_and_large)
        });
        assert_no_allocation("frames", &[&a, &b], &frames);
        let frames = both_ways((&a.tap, &b.tap), |from, to| {
            plain_frames(mac(to), from, &[1500, 100, 1480, 1501, 9000])
        });
        assert_no_allocation("frames in pieces", &[&a, &b], &frames);
        assert!(b.engine.counter(Counter::Reassembled) >= COUNTED / 2);
    }
}

fn host_traffic() {
    let (a, b) = pair(Options::default(), Suite::AesGcm16);
    let both_families = |from, to| {
        let names = (hit(from), hit(to));
        let transports = [udp(0), udp(100), udp(1200), tcp(1, 0), tcp(1, 1000)];
        let packets = transports.iter().zip([17, 17, 17, 6, 6]);
        packets
            .flat_map(|(t, protocol)| [true, false].map(|v6| packet(names, v6, protocol, t)))
            .collect()
    };
    assert_no_allocation(
        "host traffic",
        &[&a, &b],
        &both_ways((&a.tun, &b.tun), both_families),
    );
    let in_fragments = |from, to| {
        let names = (hit(from), hit(to));
        let whole = [udp(3000), udp(1300)].map(|t| packet(names, false, 17, &t));
        whole.iter().flat_map(|whole| fragments(whole)).collect()
    };
    let streams = both_ways((&a.tun, &b.tun), in_fragments);
    assert_no_allocation("fragments from the host", &[&a, &b], &streams);
}

fn super_packets() {
    let options = Options {
        vnet_hdr: true,
        ..Options::default()
    };
    let (a, b) = pair(options, Suite::AesGcm16);
    let on_the_lan = |from, to| {
        let names = (hit(from), hit(to));
        let mut packets = vec![with_vnet(
            VnetHeader::default(),
            &frame(mac(to), from, [0x88, 0xb5], &[7; 60]),
        )];
        for (v6, ethertype) in [(true, [0x86, 0xdd]), (false, [0x08, 0x00])] {
            for (protocol, transport) in [(6, tcp(1, 40_000)), (17, udp(20_000))] {
                let packet = packet(names, v6, protocol, &transport);
                let frame = frame(mac(to), from, ethertype, &packet);
                packets.push(super_packet(&frame, 14, 1300));
                // Segments that have to be cut smaller, and datagrams that go in pieces.
                packets.push(super_packet(&frame, 14, 1460));
            }
            // Singles of one stream, to be joined.
            packets.extend((0..4).map(|n| {
                let packet = packet(names, v6, 6, &tcp(n * 1000, 1000));
                with_vnet(
                    VnetHeader::default(),
                    &frame(mac(to), from, ethertype, &packet),
                )
            }));
        }
        packets
    };
    assert_no_allocation(
        "super-packets of the LAN",
        &[&a, &b],
        &both_ways((&a.tap, &b.tap), on_the_lan),
    );
    let of_the_host = |from, to| {
        let names = (hit(from), hit(to));
        let mut packets = Vec::new();
        for v6 in [true, false] {
            for (protocol, transport) in [(6, tcp(1, 40_000)), (17, udp(20_000))] {
                let packet = packet(names, v6, protocol, &transport);
                packets.push(super_packet(&packet, 0, 1200));
            }
            packets.push(with_vnet(
                VnetHeader::default(),
                &packet(names, v6, 17, &udp(10)),
            ));
        }
        packets
    };
    assert_no_allocation(
        "super-packets of the host",
        &[&a, &b],
        &both_ways((&a.tun, &b.tun), of_the_host),
    );
    for node in [&a, &b] {
        assert!(node.engine.counter(Counter::SplitPackets) > 1000);
        assert!(node.engine.counter(Counter::CoalescedPackets) > 1000);
    }
}

fn flooding() {
    let (a, b, c) = (Node::new(1), Node::new(2), Node::new(3));
    connect(&a, &b, &Sa::new(300), &Sa::new(301));
    connect(&b, &c, &Sa::new(302), &Sa::new(303));
    connect(&c, &a, &Sa::new(304), &Sa::new(305));
    let lens = [46, 1000, 1500];
    let streams = [
        Stream {
            from: &a.tap,
            to: &b.tap,
            packets: plain_frames([0xff; 6], 1, &lens),
        },
        Stream {
            from: &b.tap,
            to: &c.tap,
            packets: plain_frames([0xff; 6], 2, &lens),
        },
        Stream {
            from: &c.tap,
            to: &a.tap,
            packets: plain_frames([0xff; 6], 3, &lens),
        },
    ];
    assert_no_allocation("flooding", &[&a, &b, &c], &streams);
    assert!(a.engine.counter(Counter::FloodedFrames) >= COUNTED);
}
