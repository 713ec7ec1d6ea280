// Package mysql serves MySQL listeners: sessions of applications, backend connections shared between them, and the
// way of each statement from one to the other.
package mysql
