// Package live tests the sidewire binary as a user runs it: from a file, before real servers, with ordinary clients of
// every protocol at once. What belongs to one protocol is tested in that protocol's own folder.
package live
