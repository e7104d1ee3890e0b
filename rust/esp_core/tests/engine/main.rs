//! Engines that talk to each other over loopback, with datagram socket pairs in place of TUN and TAP:
//! no privilege is needed. The system tests do the same with real devices.

mod fairness;
mod formats;
mod frames;
mod hosts;
mod life;
mod node;
mod relay;
mod rendezvous;
mod wire;
