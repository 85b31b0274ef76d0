//! The memory of the host's kernel holds what it promises; the path never leaves it; and several
//! CPUs at once never share what belongs to one connection.

mod bounds;
mod concurrent;
mod site;
