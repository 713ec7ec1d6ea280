// Package page looks at the admin interface's page with a browser.
package page
