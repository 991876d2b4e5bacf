//! The engine under attack, and in a world that crashes, doubles, loses and reorders.

#[cfg(test)]
mod attacks;
#[cfg(test)]
mod signing;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod upgrade;
