/* net/shortcuts.h - the part of the facade that is about shortcuts
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

struct net;

/*
 * A busy flow between two tasks of this host gets a shortcut past the host's network stack
 * (net/shortcut.h).  The kernel shows some of what tasks say to each other at a descriptor
 * (-1: there are no shortcuts); net_shortcut_read() looks at what is there.  Nothing is lost
 * when it is not called at once, and it never waits.
 */
int net_shortcut_fd(const struct net *net);
void net_shortcut_read(struct net *net);
/* All go, and come again where they may: what is_logged() of flow logs says has changed. */
void net_shortcut_forget(struct net *net);
/* Why there are none on this host, or not at each link, borrowed; NULL: there are. */
const char *net_shortcut_why_not(const struct net *net);
