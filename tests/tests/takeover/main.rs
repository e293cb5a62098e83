//! Two managers, one lease: stopped, cut off, and with wrong clocks, never two of them write at one time, and one takes
//! over from the other in time. Who wrote what is the API server's word: its audit log.

mod clock;
mod duel;
mod partition;
mod stopped;
