//go:build !race

package xds_test

const raceDetector = false
