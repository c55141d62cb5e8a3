//! The stand-in is what the program's tests believe in, so that it is tested itself, over bare TCP.
