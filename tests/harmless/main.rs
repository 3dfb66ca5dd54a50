//! roar alters nothing: real programs, and a supervisor in every kind of trouble.

mod churn;
mod fuse;
mod guardian;
mod starved;
