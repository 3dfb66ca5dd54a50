//! Objects of Ray's object store: which went into which task.
//!
//! An object's id tells who made it, so only what a task received is recorded. Layout of
//! the ids: `src/ray/design_docs/id_specification.md` of Ray.

use serde::{Deserialize, Serialize};

/// A task's id: 8 bytes of its own, 12 of its actor (all ones: none), 4 of its job.
pub type RayTaskId = [u8; 24];

/// Indices from here on are objects that the task put, lower ones what it returned.
const FIRST_PUT: u32 = 100_000_000;

/// An object's id: its maker's task id and an index (little-endian).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct ObjectId(pub [u8; 28]);

impl ObjectId {
    /// The id of the task that made it.
    pub fn maker(&self) -> RayTaskId {
        let mut id = [0; 24];
        id.copy_from_slice(&self.0[..24]);
        id
    }

    /// Whether it was made by `ray.put`: then the first byte of [`ObjectId::maker`] is the
    /// attempt and not the task's.
    pub fn was_put(&self) -> bool {
        let [.., a, b, c, d] = self.0;
        u32::from_le_bytes([a, b, c, d]) > FIRST_PUT
    }

    /// As Ray prints it.
    pub fn hex(&self) -> String {
        hex(&self.0)
    }
}

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An object that went into a task.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct ObjectUse {
    /// Name of the Ray session, in which ids are unique.
    pub session: String,
    /// The object.
    pub object: ObjectId,
    /// The task that it was passed to by the one that recorded it; none when the
    /// recording task itself received it.
    pub receiver: Option<RayTaskId>,
    /// Size of the serialized value (bytes), where it was seen.
    pub size: Option<u64>,
}

/// A job of Ray's, whose driver a task is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct DrivenJob {
    /// Name of the Ray session.
    pub session: String,
    /// Job id, hexadecimal.
    pub job_id: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_tells_its_maker() {
        let mut id = ObjectId([7; 28]);
        id.0[24..].copy_from_slice(&1u32.to_le_bytes());
        assert_eq!((id.maker(), id.was_put()), ([7; 24], false));
        id.0[24..].copy_from_slice(&(FIRST_PUT + 1).to_le_bytes());
        assert!(id.was_put());
        assert!(id.hex().starts_with("0707"));
    }
}
