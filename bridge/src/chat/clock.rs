//! `strftime_now`: the local time by the C library's strftime, as CPython has it.

extern "C" {
    fn strftime(out: *mut u8, size: usize, format: *const u8, time: *const BrokenDownTime)
        -> usize;
    fn time(out: *mut i64) -> i64;
    fn localtime_r(time: *const i64, out: *mut BrokenDownTime) -> *mut BrokenDownTime;
}

/// Larger than any platform's `struct tm`, and aligned for it.
#[repr(C)]
struct BrokenDownTime([i64; 16]);

/// No field of strftime is longer than this in any locale that we know of.
const LONGEST_FIELD: usize = 64;
const MAX_FORMAT: usize = 1000;

/// None: the format is too long.
pub fn strftime_now(format: &str) -> Option<String> {
    if format.len() > MAX_FORMAT {
        return None;
    }
    let format = format.replace("%z", "").replace("%Z", ""); // Python's time here has no zone
    let terminated = [format.as_bytes(), b"\0"].concat();
    let mut out = vec![0u8; LONGEST_FIELD * (1 + format.len())];
    let mut local = BrokenDownTime([0; 16]);
    // SAFETY: every pointer is to memory of our own that outlives the calls and is large enough; the
    // format ends in a zero.
    let written = unsafe {
        let now = time(std::ptr::null_mut());
        if localtime_r(&now, &mut local).is_null() {
            return Some(String::new());
        }
        strftime(out.as_mut_ptr(), out.len(), terminated.as_ptr(), &local)
    };
    Some(String::from_utf8_lossy(&out[..written]).into_owned())
}
