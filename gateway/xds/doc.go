// Package xds feeds the gateway from a control plane: an ADS client, Envoy's messages translated into sidewire's own model, and Envoy's bootstrap file.
//
// It is the only room where Envoy's messages appear. What they mean is written down as the configuration file would say it,
// and goes through the same strict decoder and compiler, so that a NACK carries the same text as `sidewire validate`.
package xds
