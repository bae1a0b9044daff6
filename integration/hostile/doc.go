// Package hostile is the exam of bad input: everything that listens gets bytes
// that no honest peer sends, while a call goes on that must not notice.
package hostile
