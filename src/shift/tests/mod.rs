//! The engine against a world that can be killed at every point.
