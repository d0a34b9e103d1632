//! Secrets by reference, and keys that are rotated without a deployment.
