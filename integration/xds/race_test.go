//go:build race

package xds_test

// raceDetector: with it a push costs ten times as much, so that fewer are made.
const raceDetector = true
