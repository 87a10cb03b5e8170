"""Generative adversarial networks for speech, text and images: one game, played with different players.

The submodules are the shared core; `seqgan.speech`, `seqgan.text` and `seqgan.image` are the media. Importing the
package costs nothing: torch is imported by the submodules that need it.
"""

import os

__version__ = "0.1.0"

# The media's folders stand beside this one in a checkout and inside it once installed. Python started in the root of
# a checkout finds this file before the installed one, so here the media are looked for beside it too.
if not os.path.isdir(os.path.join(__path__[0], "speech")):
    __path__.append(os.path.dirname(__path__[0]))
