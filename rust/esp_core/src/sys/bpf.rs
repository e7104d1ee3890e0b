//! bpf(2): maps, programs, and the links that tie them to network devices.

use std::{
    ffi::CStr,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    ptr,
    sync::atomic::AtomicU64,
};

// linux/bpf.h, enum bpf_cmd.
const MAP_CREATE: libc::c_int = 0;
const MAP_UPDATE_ELEM: libc::c_int = 2;
const MAP_DELETE_ELEM: libc::c_int = 3;
const PROG_LOAD: libc::c_int = 5;
const LINK_CREATE: libc::c_int = 28;

const MAP_TYPE_HASH: u32 = 1;
const MAP_TYPE_ARRAY: u32 = 2;
const F_NO_PREALLOC: u32 = 1;
const F_MMAPABLE: u32 = 1 << 10;
const PROG_TYPE_SCHED_CLS: u32 = 3;
const TCX_INGRESS: u32 = 46;

/// What the kernel's verifier says about a program, at most.
const LOG_LEN: usize = 1 << 16;

/// An instruction as the kernel reads it (struct bpf_insn).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Instruction {
    pub code: u8,
    /// The destination in one half, the source in the other.
    pub registers: u8,
    pub offset: i16,
    pub immediate: i32,
}

/// A hash map that programs look things up in, with keys and values of fixed types.
///
/// Memory is taken from the kernel as elements come.
#[derive(Debug)]
pub struct Hash<K, V> {
    fd: OwnedFd,
    types: std::marker::PhantomData<fn(K, V)>,
}

impl<K: Copy, V: Copy> Hash<K, V> {
    /// `name` has at most 15 letters, digits and underscores.
    pub fn new(name: &CStr, capacity: u32) -> io::Result<Self> {
        let fd = create_map(&MapCreate {
            map_type: MAP_TYPE_HASH,
            key_size: size_of::<K>() as u32,
            value_size: size_of::<V>() as u32,
            max_entries: capacity,
            map_flags: F_NO_PREALLOC,
            map_name: short(name),
            ..MapCreate::default()
        })?;
        Ok(Self {
            fd,
            types: std::marker::PhantomData,
        })
    }

    /// Enter a value, in one step also in place of another. Both types must be free of padding.
    pub fn set(&self, key: &K, value: &V) -> io::Result<()> {
        let mut attributes = Element {
            map_fd: self.fd.as_raw_fd() as u32,
            key: address(key),
            value: address(value),
            ..Element::default()
        };
        // SAFETY: key and value are of the sizes that the map was made with, and live through the
        // call, which only reads them.
        unsafe { bpf(MAP_UPDATE_ELEM, &mut attributes) }?;
        Ok(())
    }

    /// Remove a key; an error if it is not there.
    pub fn remove(&self, key: &K) -> io::Result<()> {
        let mut attributes = Element {
            map_fd: self.fd.as_raw_fd() as u32,
            key: address(key),
            ..Element::default()
        };
        // SAFETY: the key is of the size that the map was made with, and lives through the call,
        // which only reads it.
        unsafe { bpf(MAP_DELETE_ELEM, &mut attributes) }?;
        Ok(())
    }
}

impl<K, V> AsFd for Hash<K, V> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Words that programs and this process see at the same time: an array map of one value.
#[derive(Debug)]
pub struct Words {
    fd: OwnedFd,
    begin: ptr::NonNull<AtomicU64>,
    len: usize,
}

// SAFETY: the memory belongs to no thread, and all access to it is atomic.
unsafe impl Send for Words {}
// SAFETY: as above.
unsafe impl Sync for Words {}

impl Words {
    /// So many words, all 0.
    pub fn new(name: &CStr, len: usize) -> io::Result<Self> {
        let octets = len * size_of::<AtomicU64>();
        let fd = create_map(&MapCreate {
            map_type: MAP_TYPE_ARRAY,
            key_size: 4,
            value_size: u32::try_from(octets).map_err(|_| io::ErrorKind::InvalidInput)?,
            max_entries: 1,
            map_flags: F_MMAPABLE,
            map_name: short(name),
            ..MapCreate::default()
        })?;
        // SAFETY: a new mapping, placed by the kernel, touches no memory that is in use.
        let begin = unsafe {
            libc::mmap(
                ptr::null_mut(),
                octets,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                0,
            )
        };
        if begin == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let begin = ptr::NonNull::new(begin.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { fd, begin, len })
    }

    #[must_use]
    pub fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping begins at a page, has this many words, and lives as long as `self`;
        // any pattern of bits is a number; what programs write at the same time is whole words.
        unsafe { std::slice::from_raw_parts(self.begin.as_ptr(), self.len) }
    }
}

impl AsFd for Words {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nothing borrowed from `self` is left.
        unsafe {
            libc::munmap(
                self.begin.as_ptr().cast(),
                self.len * size_of::<AtomicU64>(),
            )
        };
    }
}

/// Have the kernel check and compile a program for packets (BPF_PROG_TYPE_SCHED_CLS). The error has
/// the end of what the verifier says, if it came as far as that.
pub fn load(name: &CStr, licence: &CStr, program: &[Instruction]) -> io::Result<OwnedFd> {
    let mut attributes = ProgLoad {
        prog_type: PROG_TYPE_SCHED_CLS,
        insn_cnt: program.len() as u32,
        insns: program.as_ptr() as u64,
        license: licence.as_ptr() as u64,
        prog_name: short(name),
        ..ProgLoad::default()
    };
    // SAFETY: program and licence live through the call, which only reads them.
    let error = match unsafe { bpf(PROG_LOAD, &mut attributes) } {
        // SAFETY: the kernel has just made this descriptor for us, nobody else knows it.
        Ok(fd) => return Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        Err(error) => error,
    };
    if error.raw_os_error() == Some(libc::EPERM) {
        return Err(error);
    }
    let mut log = vec![0u8; LOG_LEN];
    attributes.log_level = 1;
    attributes.log_size = LOG_LEN as u32;
    attributes.log_buf = log.as_mut_ptr() as u64;
    // SAFETY: as above; besides, the kernel writes at most `log_size` octets into the log.
    if let Ok(fd) = unsafe { bpf(PROG_LOAD, &mut attributes) } {
        // SAFETY: as above.
        return Ok(unsafe { OwnedFd::from_raw_fd(fd) });
    }
    let said = CStr::from_bytes_until_nul(&log).unwrap_or_default();
    let said = said.to_string_lossy();
    let end: Vec<&str> = said.lines().rev().take(3).collect();
    let end: Vec<&str> = end.into_iter().rev().collect();
    Err(io::Error::new(
        error.kind(),
        format!("{error}: {}", end.join("; ")),
    ))
}

/// A program at a device (tcx, Linux 6.6); it is taken away when this is dropped, however that
/// comes about, and the program goes nowhere if the device goes.
#[derive(Debug)]
pub struct Link(#[allow(dead_code, reason = "it is held, not used")] OwnedFd);

/// Have a program see what comes in at a device, behind those that are there already.
pub fn attach_ingress(program: BorrowedFd<'_>, ifindex: u32) -> io::Result<Link> {
    let mut attributes = LinkCreate {
        prog_fd: program.as_raw_fd() as u32,
        target_ifindex: ifindex,
        attach_type: TCX_INGRESS,
        ..LinkCreate::default()
    };
    // SAFETY: the request has no pointers.
    let fd = unsafe { bpf(LINK_CREATE, &mut attributes) }?;
    // SAFETY: the kernel has just made this descriptor for us, nobody else knows it.
    Ok(Link(unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// What a program makes of a frame (BPF_PROG_TEST_RUN): what it returned, the frame it left, and
/// the nanoseconds of one run of many. `gso` is segments and octets of each.
#[cfg(test)]
pub(crate) fn test_run(
    program: BorrowedFd<'_>,
    frame: &[u8],
    gso: (u32, u32),
    repeat: u32,
) -> io::Result<(i32, Vec<u8>, u32)> {
    #[repr(C)]
    #[derive(Default)]
    struct TestRun {
        prog_fd: u32,
        retval: u32,
        data_size_in: u32,
        data_size_out: u32,
        data_in: u64,
        data_out: u64,
        repeat: u32,
        duration: u32,
        ctx_size_in: u32,
        ctx_size_out: u32,
        ctx_in: u64,
        ctx_out: u64,
    }
    // struct __sk_buff, of which these are at octets 164 and 176.
    let mut context = [0u32; 48];
    (context[41], context[44]) = gso;
    let mut out = vec![0; frame.len() + 256];
    let mut attributes = TestRun {
        prog_fd: program.as_raw_fd() as u32,
        data_size_in: frame.len() as u32,
        data_size_out: out.len() as u32,
        data_in: frame.as_ptr() as u64,
        data_out: out.as_mut_ptr() as u64,
        repeat,
        ctx_size_in: size_of_val(&context) as u32,
        ctx_in: context.as_ptr() as u64,
        ..TestRun::default()
    };
    const PROG_TEST_RUN: libc::c_int = 10;
    // SAFETY: frame and context are read and `out` is written, each within its length; all live
    // through the call.
    unsafe { bpf(PROG_TEST_RUN, &mut attributes) }?;
    out.truncate(attributes.data_size_out as usize);
    Ok((attributes.retval as i32, out, attributes.duration))
}

/// Parts of union bpf_attr. All are shorter than the kernel's, which takes the rest for 0.
#[repr(C)]
#[derive(Default)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    map_name: [u8; 16],
    map_ifindex: u32,
}

#[repr(C)]
#[derive(Default)]
struct Element {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
}

#[repr(C)]
#[derive(Default)]
struct LinkCreate {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
    relative_fd: u32,
    padding: u32,
    expected_revision: u64,
}

fn create_map(attributes: &MapCreate) -> io::Result<OwnedFd> {
    let mut attributes = MapCreate { ..*attributes };
    // SAFETY: the request has no pointers.
    let fd = unsafe { bpf(MAP_CREATE, &mut attributes) }?;
    // SAFETY: the kernel has just made this descriptor for us, nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn address<T>(value: &T) -> u64 {
    ptr::from_ref(value) as u64
}

/// A name for the kernel's listings.
fn short(name: &CStr) -> [u8; 16] {
    let mut field = [0; 16];
    for (octet, letter) in field[..15].iter_mut().zip(name.to_bytes()) {
        *octet = *letter;
    }
    field
}

/// # Safety
///
/// Pointers in the attributes are to what the command reads or writes there.
unsafe fn bpf<T>(command: libc::c_int, attributes: &mut T) -> io::Result<libc::c_int> {
    // SAFETY: pointer and length describe the attributes; what they point to is the caller's word.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            ptr::from_mut(attributes),
            size_of::<T>(),
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result as libc::c_int)
    }
}
