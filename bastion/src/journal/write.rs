//! Writing frames: into the newest segment, making room where there is none, and never again into a
//! file that failed to sync.

use std::io;

use super::frame::{self, Kind};
use super::index::{self, Segment};
use super::segment::{self, Active, Head};
use super::{Failure, Journal, failed, group, identity, is_full};

impl Journal {
    /// Writes the numbers that carry no record, before others come behind them.
    pub(super) fn account(&mut self) -> Result<(), Failure> {
        let Some((first, count, why)) = self.lost else {
            return Ok(());
        };
        let body = group::encode_lost(count, why);
        self.write(Kind::Lost, first, 0, &body, |_| {})?;
        self.lost = None;
        Ok(())
    }

    pub(super) fn write_identity(&mut self) -> Result<(), Failure> {
        let Some(identity) = self.unwritten else {
            return Ok(());
        };
        loop {
            match identity::write(&self.folder, &identity) {
                Ok(()) => break,
                Err(failure) if failure.is_full() && self.make_room() => {}
                Err(failure) => return Err(failure),
            }
        }
        self.unwritten = None;
        Ok(())
    }

    /// Writes a frame and, once it is on disk, lets the index know.
    pub(super) fn write(
        &mut self,
        kind: Kind,
        first: u64,
        count: u32,
        body: &[u8],
        done: impl FnOnce(&mut index::State),
    ) -> Result<(), Failure> {
        let salt = self.index.state().salt;
        let frame = frame::encode(kind, first, count, body, salt);
        let mut another = true;
        loop {
            let written = self.segment(first, frame.len()).and_then(|active| {
                active.append(&frame)?;
                Ok(active.length)
            });
            match written {
                Ok(length) => {
                    let mut state = self.index.state();
                    done(&mut state);
                    if let Some(newest) = state.segments.back_mut() {
                        newest.length = length;
                    }
                    return Ok(());
                }
                Err(error) if is_full(&error) && self.make_room() => {}
                Err(error) if !is_full(&error) && another => {
                    // After an error of a sync nobody knows what the file holds: leave it alone.
                    self.close_segment();
                    another = false;
                }
                Err(source) => {
                    let path = segment::path(&self.folder, first);
                    return Err(failed("writing", &path)(source));
                }
            }
        }
    }

    /// The segment that takes a frame of this size, begun if need be.
    fn segment(&mut self, first: u64, size: usize) -> io::Result<&mut Active> {
        let size = size as u64;
        let full = |active: &Active| {
            active.length > 0 && active.length + size > self.settings.segment_bytes
        };
        if self.active.as_ref().is_some_and(full) {
            self.close_segment();
            self.trim(None);
        }
        if self.active.is_none() {
            let (head, again) = {
                let state = self.index.state();
                let head = Head {
                    salt: state.salt,
                    begun_ns: self.now_ns,
                    boots: state.boots.clone(),
                };
                let newest = state.segments.back();
                (head, newest.is_some_and(|newest| newest.first == first))
            };
            if again {
                // Nothing of it counts, or its number would have been given.
                self.index.state().segments.pop_back();
            }
            let active = Active::create(&self.folder, first, &head)?;
            self.index.state().segments.push_back(Segment {
                first,
                length: active.length,
                path: segment::path(&self.folder, first),
                begun_ns: self.now_ns,
            });
            self.active = Some(active);
        }
        self.active
            .as_mut()
            .ok_or_else(|| io::Error::other("no segment"))
    }

    fn close_segment(&mut self) {
        if let Some(active) = self.active.take() {
            active.close();
        }
    }
}
