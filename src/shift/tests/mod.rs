//! The engine against a world that can be killed at every point.

mod crash;
mod drive;
mod events;
mod world;
