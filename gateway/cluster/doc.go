// Package cluster keeps the living side of clusters: which endpoints there are, how they are, which one serves next, and
// how to reach it.
package cluster
