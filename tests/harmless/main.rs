//! roar alters nothing: real programs, and a supervisor in every kind of trouble.

mod churn;
mod compare;
mod cpython;
mod debuggers;
mod filters;
mod fuse;
mod guardian;
mod nesting;
mod privileges;
mod real;
mod signals;
mod starved;
mod yama;
