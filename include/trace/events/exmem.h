/* SPDX-License-Identifier: GPL-2.0-only */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM exmem

#if !defined(_TRACE_EXMEM_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_EXMEM_H

#include <linux/exmem.h>
#include <linux/mm.h>
#include <linux/tracepoint.h>

TRACE_DEFINE_ENUM(EXMEM_CALLER_KERNEL);
TRACE_DEFINE_ENUM(EXMEM_CALLER_DEVICE);
TRACE_DEFINE_ENUM(EXMEM_CALLER_MMAP);
TRACE_DEFINE_ENUM(EXMEM_CALLER_SECRETMEM);

#define exmem_show_caller(caller)						\
	__print_symbolic(caller, { EXMEM_CALLER_KERNEL, "kernel" },		\
				 { EXMEM_CALLER_DEVICE, "device" },		\
				 { EXMEM_CALLER_MMAP, "mmap" },			\
				 { EXMEM_CALLER_SECRETMEM, "secretmem" })

DECLARE_EVENT_CLASS(exmem_run,
		    TP_PROTO(struct page *page, unsigned long nr, enum exmem_caller caller),
		    TP_ARGS(page, nr, caller),
		    TP_STRUCT__entry(__field(unsigned long, pfn)
				     __field(unsigned long, nr)
				     __field(int, nid)
				     __field(int, caller)),
		    TP_fast_assign(__entry->pfn = page_to_pfn(page);
				   __entry->nr = nr;
				   __entry->nid = page_to_nid(page);
				   __entry->caller = caller;),
		    TP_printk("pfn=0x%lx node=%d count=%lu caller=%s", __entry->pfn,
			      __entry->nid, __entry->nr, exmem_show_caller(__entry->caller))
);

/* Contiguous pages that leave the pool. */
DEFINE_EVENT(exmem_run, exmem_take,
	     TP_PROTO(struct page *page, unsigned long nr, enum exmem_caller caller),
	     TP_ARGS(page, nr, caller)
);

/* Contiguous pages that come back, before they are cleared. */
DEFINE_EVENT(exmem_run, exmem_give,
	     TP_PROTO(struct page *page, unsigned long nr, enum exmem_caller caller),
	     TP_ARGS(page, nr, caller)
);

/* A request that got nothing; the node is the one it began with. */
TRACE_EVENT(exmem_exhausted,
	    TP_PROTO(int nid, unsigned long nr, enum exmem_caller caller),
	    TP_ARGS(nid, nr, caller),
	    TP_STRUCT__entry(__field(unsigned long, nr)
			     __field(int, nid)
			     __field(int, caller)),
	    TP_fast_assign(__entry->nr = nr;
			   __entry->nid = nid;
			   __entry->caller = caller;),
	    TP_printk("node=%d count=%lu caller=%s", __entry->nid, __entry->nr,
		      exmem_show_caller(__entry->caller))
);

#endif /* _TRACE_EXMEM_H */

#include <trace/define_trace.h>
