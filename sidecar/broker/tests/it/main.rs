//! The broker client against the simulated gateway and against scripted servers, on loopback.

#[cfg(test)]
mod canary;
#[cfg(test)]
mod effects;
#[cfg(test)]
mod errands;
#[cfg(test)]
mod keeper;
#[cfg(test)]
mod kept;
#[cfg(test)]
mod outages;
#[cfg(test)]
mod pacing;
#[cfg(test)]
mod quirks;
#[cfg(test)]
mod reads;
#[cfg(test)]
mod reads_account;
#[cfg(test)]
mod reads_contracts;
#[cfg(test)]
mod reads_market;
#[cfg(test)]
mod routing;
#[cfg(test)]
mod scripted;
#[cfg(test)]
mod session;
#[cfg(test)]
mod simulated_streams;
#[cfg(test)]
mod streams;
#[cfg(test)]
mod support;
#[cfg(test)]
mod transport;
#[cfg(test)]
mod upstream;
