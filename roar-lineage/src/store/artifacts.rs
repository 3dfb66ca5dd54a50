//! What a reference may stand for.

use bstr::ByteSlice;
use rusqlite::OptionalExtension;

use super::{Store, StoreError};
use crate::digest::Digest;

/// Between which all that is below a path or URL stands.
pub(super) fn below(path: &[u8]) -> [Vec<u8>; 2] {
    let path = path.trim_end_with(|c| c == '/');
    [b'/', b'/' + 1].map(|end| [path, &[end]].concat())
}

impl Store {
    /// Whether anything was at a path or URL.
    pub fn knows(&self, path: &[u8]) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM location WHERE path = ? LIMIT 1";
        let found = self.connection.query_row(sql, [path], |_| Ok(()));
        let found = found.optional().map_err(|error| self.explained(error))?;
        Ok(found.is_some())
    }

    /// Whether anything was below a directory or a URL.
    pub fn knows_below(&self, path: &[u8]) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM location WHERE path > ? AND path < ? LIMIT 1";
        let found = self.connection.query_row(sql, below(path), |_| Ok(()));
        let found = found.optional().map_err(|error| self.explained(error))?;
        Ok(found.is_some())
    }

    /// The digests that begin with these hexadecimal digits.
    pub fn digests_beginning(&self, hex: &str) -> Result<Vec<Digest>, StoreError> {
        let find = || -> rusqlite::Result<Vec<Digest>> {
            let sql = "SELECT digest FROM artifact WHERE hex(digest) LIKE ? || '%' ORDER BY digest";
            let mut find = self.connection.prepare_cached(sql)?;
            let found = find.query_map([hex], |row| row.get(0).map(Digest))?;
            found.collect()
        };
        find().map_err(|error| self.explained(error))
    }
}
