//! What the functions write, and what they never write.
