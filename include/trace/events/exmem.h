/* SPDX-License-Identifier: GPL-2.0-only */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM exmem

#if !defined(_TRACE_EXMEM_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_EXMEM_H

#include <linux/mm.h>
#include <linux/tracepoint.h>

DECLARE_EVENT_CLASS(exmem_pages,
		    TP_PROTO(struct page *page, unsigned long nr, const char *caller),
		    TP_ARGS(page, nr, caller),
		    TP_STRUCT__entry(__field(unsigned long, pfn)
				     __field(unsigned long, nr)
				     __field(int, nid)
				     __string(caller, caller)),
		    TP_fast_assign(__entry->pfn = page_to_pfn(page);
				   __entry->nr = nr;
				   __entry->nid = page_to_nid(page);
				   __assign_str(caller);),
		    TP_printk("pfn=0x%lx node=%d count=%lu caller=%s", __entry->pfn,
			      __entry->nid, __entry->nr, __get_str(caller))
);

/* Contiguous pages, allocated to an object. The caller is the front end. */
DEFINE_EVENT(exmem_pages, exmem_alloc,
	     TP_PROTO(struct page *page, unsigned long nr, const char *caller),
	     TP_ARGS(page, nr, caller)
);

/* Contiguous pages that an object frees, before they are cleared. */
DEFINE_EVENT(exmem_pages, exmem_free,
	     TP_PROTO(struct page *page, unsigned long nr, const char *caller),
	     TP_ARGS(page, nr, caller)
);

/* A request that the pool could not serve; the node is the one it began with. */
TRACE_EVENT(exmem_alloc_fail,
	    TP_PROTO(int nid, unsigned long nr, const char *caller),
	    TP_ARGS(nid, nr, caller),
	    TP_STRUCT__entry(__field(unsigned long, nr)
			     __field(int, nid)
			     __string(caller, caller)),
	    TP_fast_assign(__entry->nr = nr;
			   __entry->nid = nid;
			   __assign_str(caller);),
	    TP_printk("node=%d count=%lu caller=%s", __entry->nid, __entry->nr,
		      __get_str(caller))
);

#endif /* _TRACE_EXMEM_H */

#include <trace/define_trace.h>
