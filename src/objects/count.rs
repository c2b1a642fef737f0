//! Counters of what is asked of the object store, by store and verb: requests, failures, bytes in and out.
//!
//! They go to whatever recorder the process has; where there is none they cost next to nothing.

use super::ObjectError;

/// Which store.
#[derive(Debug, Clone, Copy)]
pub struct Counts(pub &'static str);

impl Counts {
    /// Counts one request and how it went. What is missing or past the end is an answer, not a failure.
    pub fn request<T>(self, verb: &'static str, result: Result<T, ObjectError>) -> Result<T, ObjectError> {
        metrics::counter!("roost_objects_requests_total", "store" => self.0, "verb" => verb).increment(1);
        let failed = match &result {
            Ok(_) | Err(ObjectError::Missing(_) | ObjectError::PastTheEnd { .. }) => false,
            Err(_) => true,
        };
        if failed {
            metrics::counter!("roost_objects_failures_total", "store" => self.0, "verb" => verb).increment(1);
        }
        result
    }

    /// Bytes that the store took.
    pub fn taken(self, bytes: usize) {
        metrics::counter!("roost_objects_bytes_in_total", "store" => self.0).increment(bytes as u64);
    }

    /// Bytes that the store gave.
    pub fn given(self, bytes: usize) {
        metrics::counter!("roost_objects_bytes_out_total", "store" => self.0).increment(bytes as u64);
    }
}
