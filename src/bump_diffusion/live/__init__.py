"""Live: the networks in a page

The network and its sampler run in the reader's browser: `unet.c`, compiled to WebAssembly by
`live.build`, and `unet.js`; `elements.js` is what a reader touches, and `bumps.js` finds the bumps
in what is drawn.
"""
