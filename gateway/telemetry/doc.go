// Package telemetry is what sidewire tells about itself: metrics, the access log, traces and its own log.
package telemetry
