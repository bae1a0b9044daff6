// Package soak lets calls come, change and go at mediad for as long as one likes, with each engine, while others talk on; and then looks
// whether anything was lost on the way or is left behind.
package soak
