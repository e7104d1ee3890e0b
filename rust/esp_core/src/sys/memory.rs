//! How large tables come to the CPU: the kernel's pages, and what is fetched ahead.

/// Have a vector that is never grown backed by huge pages, if the kernel gives any: a look-up far
/// from the one before then waits for no page table. It is advice; nothing depends on it.
pub fn prefer_huge_pages<T>(vector: &mut Vec<T>) {
    let page = page_size();
    let begin = vector.as_mut_ptr() as usize;
    let end = begin + vector.capacity() * size_of::<T>();
    let (begin, end) = (begin.next_multiple_of(page), end / page * page);
    if begin < end {
        // SAFETY: the whole pages in this range are the vector's own, and the advice changes nothing
        // of what is in them. Where it is not taken, there is nothing to be done about it.
        unsafe {
            libc::madvise(begin as *mut _, end - begin, libc::MADV_HUGEPAGE);
        }
    }
}

/// Octets that the CPU fetches at a time.
const LINE: usize = 64;

/// Have the CPU fetch a value that is needed soon.
pub fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    for offset in (0..size_of::<T>()).step_by(LINE) {
        use std::arch::x86_64::{_mm_prefetch, _MM_HINT_T0};
        // SAFETY: the address is within the value, and fetching ahead has no effect that a program
        // sees, wherever it leads.
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>((&raw const *value).cast::<i8>().add(offset));
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (value, LINE);
}

fn page_size() -> usize {
    // SAFETY: the call has no arguments that could be wrong.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(4096).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_and_capacity_stay() {
        for capacity in [0, 1, 100_000] {
            let mut vector = Vec::with_capacity(capacity);
            vector.extend(0..capacity as u64);
            let before = vector.capacity();
            prefer_huge_pages(&mut vector);
            assert_eq!(vector.capacity(), before);
            assert!(vector.iter().copied().eq(0..capacity as u64));
        }
    }
}
