/* SPDX-License-Identifier: GPL-2.0-only */
/* The size of a secret, and the mask that hides a searcher's own copy. */
#ifndef _LAB_DEMO_SECRET_H
#define _LAB_DEMO_SECRET_H

#define SECRET_WORDS	4
#define MASK		0x5aa5c33c0ff069b7UL

#endif /* _LAB_DEMO_SECRET_H */
